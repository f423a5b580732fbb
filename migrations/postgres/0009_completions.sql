-- Chat completions that clients asked to be kept (store: true).

CREATE TABLE chat_completion (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    id         TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    asked      TEXT COLLATE "C" NOT NULL, -- the model as the client named it
    model      TEXT COLLATE "C" NOT NULL, -- as the answer does
    messages   TEXT NOT NULL, -- JSON, as it was sent
    answer     TEXT NOT NULL, -- JSON, as it was told
    metadata   TEXT NOT NULL, -- JSON, an object of texts
    PRIMARY KEY (tenant, id)
);
SELECT frontdesk_guard('chat_completion');
