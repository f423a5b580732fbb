-- Texts that responses name instead of sending, with places for words of the request. A change is a new version.

CREATE TABLE prompt (
    tenant          TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    id              TEXT COLLATE "C" NOT NULL,
    version         BIGINT NOT NULL, -- the newest
    default_version BIGINT NOT NULL, -- what is meant where none is named
    created_at      BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE prompt_version (
    tenant     TEXT COLLATE "C" NOT NULL,
    prompt_id  TEXT COLLATE "C" NOT NULL,
    version    BIGINT NOT NULL,
    text       TEXT NOT NULL,
    variables  TEXT NOT NULL, -- JSON, a list of names
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, prompt_id, version),
    FOREIGN KEY (tenant, prompt_id) REFERENCES prompt (tenant, id) ON DELETE CASCADE
);
SELECT frontdesk_guard('prompt');
SELECT frontdesk_guard('prompt_version');
