-- Models that a tenant registered under names of its own; they lead to a provider of the configuration.

CREATE TABLE model (
    tenant      TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    id          TEXT COLLATE "C" NOT NULL,
    provider_id TEXT COLLATE "C" NOT NULL,
    upstream_id TEXT COLLATE "C" NOT NULL, -- the provider's own name
    kind        TEXT COLLATE "C" NOT NULL, -- llm | embedding | rerank
    metadata    TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
SELECT frontdesk_guard('model');
