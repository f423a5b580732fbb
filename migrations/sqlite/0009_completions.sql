-- Chat completions that clients asked to be kept (store: true).

CREATE TABLE chat_completion (
    tenant     TEXT NOT NULL REFERENCES tenant (id),
    id         TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    asked      TEXT NOT NULL, -- the model as the client named it
    model      TEXT NOT NULL, -- as the answer does
    messages   TEXT NOT NULL, -- JSON, as it was sent
    answer     TEXT NOT NULL, -- JSON, as it was told
    metadata   TEXT NOT NULL, -- JSON, an object of texts
    PRIMARY KEY (tenant, id)
) STRICT;
