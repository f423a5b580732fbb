-- Models that a tenant registered under names of its own; they lead to a provider of the configuration.

CREATE TABLE model (
    tenant      TEXT NOT NULL REFERENCES tenant (id),
    id          TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    upstream_id TEXT NOT NULL, -- the provider's own name
    kind        TEXT NOT NULL, -- llm | embedding | rerank
    metadata    TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
