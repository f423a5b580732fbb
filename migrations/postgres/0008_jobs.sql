-- Work that outlives the request that asked for it and the process that began it.
CREATE TABLE job (
    tenant              TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    id                  TEXT COLLATE "C" NOT NULL,
    kind                TEXT COLLATE "C" NOT NULL,
    state               TEXT COLLATE "C" NOT NULL, -- open | completed | failed | cancelled | expired
    payload             TEXT NOT NULL, -- what was asked, JSON; never changes
    progress            TEXT NOT NULL, -- how far it is, JSON
    owner               TEXT COLLATE "C", -- the process that works on it
    lease_until         BIGINT NOT NULL, -- it holds the job until then, by the database's clock
    epoch               BIGINT NOT NULL, -- one more with every owner; only the last one's writes count
    attempts            BIGINT NOT NULL, -- how often it was begun since it last got on
    cancel_requested_at BIGINT,
    deadline            BIGINT NOT NULL, -- by the database's clock
    created_at          BIGINT NOT NULL,
    ended_at            BIGINT,
    PRIMARY KEY (tenant, id)
);
SELECT frontdesk_guard('job');
-- Every gateway asks every few seconds, over all tenants, which jobs nobody works on.
CREATE INDEX job_open ON job (kind, created_at) WHERE state = 'open';
CREATE INDEX job_of_kind ON job (tenant, kind, id);

-- One request of a batch, and what came of it.
CREATE TABLE batch_line (
    tenant    TEXT COLLATE "C" NOT NULL,
    job_id    TEXT COLLATE "C" NOT NULL,
    pos       BIGINT NOT NULL, -- from 0, in the order of the input
    custom_id TEXT COLLATE "C" NOT NULL,
    request   TEXT NOT NULL, -- the request's body; empty once it has its outcome
    outcome   TEXT COLLATE "C", -- none yet, or succeeded | failed | cancelled | expired
    status    BIGINT, -- HTTP status of the answer
    answer    TEXT, -- the answer's body, one line of JSON
    PRIMARY KEY (tenant, job_id, pos),
    FOREIGN KEY (tenant, job_id) REFERENCES job (tenant, id)
);
SELECT frontdesk_guard('batch_line');
