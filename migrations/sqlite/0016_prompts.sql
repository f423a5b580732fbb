-- Texts that responses name instead of sending, with places for words of the request. A change is a new version.

CREATE TABLE prompt (
    tenant          TEXT NOT NULL REFERENCES tenant (id),
    id              TEXT NOT NULL,
    version         INTEGER NOT NULL, -- the newest
    default_version INTEGER NOT NULL, -- what is meant where none is named
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;

CREATE TABLE prompt_version (
    tenant     TEXT NOT NULL,
    prompt_id  TEXT NOT NULL,
    version    INTEGER NOT NULL,
    text       TEXT NOT NULL,
    variables  TEXT NOT NULL, -- JSON, a list of names
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, prompt_id, version),
    FOREIGN KEY (tenant, prompt_id) REFERENCES prompt (tenant, id) ON DELETE CASCADE
) STRICT;
