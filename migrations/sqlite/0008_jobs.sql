-- Work that outlives the request that asked for it and the process that began it.
CREATE TABLE job (
    tenant              TEXT NOT NULL REFERENCES tenant (id),
    id                  TEXT NOT NULL,
    kind                TEXT NOT NULL,
    state               TEXT NOT NULL,    -- open | completed | failed | cancelled | expired
    payload             TEXT NOT NULL,    -- what was asked, JSON; never changes
    progress            TEXT NOT NULL,    -- how far it is, JSON
    owner               TEXT,             -- the process that works on it
    lease_until         INTEGER NOT NULL, -- it holds the job until then, by the database's clock
    epoch               INTEGER NOT NULL, -- one more with every owner; only the last one's writes count
    attempts            INTEGER NOT NULL, -- how often it was begun since it last got on
    cancel_requested_at INTEGER,
    deadline            INTEGER NOT NULL, -- by the database's clock
    created_at          INTEGER NOT NULL,
    ended_at            INTEGER,
    PRIMARY KEY (tenant, id)
);
-- Every gateway asks every few seconds, over all tenants, which jobs nobody works on.
CREATE INDEX job_open ON job (kind, created_at) WHERE state = 'open';
CREATE INDEX job_of_kind ON job (tenant, kind, id);

-- One request of a batch, and what came of it.
CREATE TABLE batch_line (
    tenant    TEXT NOT NULL,
    job_id    TEXT NOT NULL,
    pos       INTEGER NOT NULL, -- from 0, in the order of the input
    custom_id TEXT NOT NULL,
    request   TEXT NOT NULL,    -- the request's body; empty once it has its outcome
    outcome   TEXT,             -- none yet, or succeeded | failed | cancelled | expired
    status    INTEGER,          -- HTTP status of the answer
    answer    TEXT,             -- the answer's body, one line of JSON
    PRIMARY KEY (tenant, job_id, pos),
    FOREIGN KEY (tenant, job_id) REFERENCES job (tenant, id)
);
