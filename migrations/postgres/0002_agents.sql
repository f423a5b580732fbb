-- Agents, their conversations and the durable turn: every step of an agent's work is a row here before
-- anyone sees it. JSON is kept as TEXT: the bytes that were written are the bytes that are shown, and what
-- models and customers write may hold characters that a binary JSON column refuses.

CREATE TABLE agent (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    id         TEXT COLLATE "C" NOT NULL,
    name       TEXT COLLATE "C", -- unique where given; a spec's name
    version    BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX agent_name ON agent (tenant, name) WHERE name IS NOT NULL;
SELECT frontdesk_guard('agent');

-- One row for each change; conversations stay on the version they began with.
CREATE TABLE agent_version (
    tenant     TEXT COLLATE "C" NOT NULL,
    agent_id   TEXT COLLATE "C" NOT NULL,
    version    BIGINT NOT NULL,
    spec       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, agent_id, version),
    FOREIGN KEY (tenant, agent_id) REFERENCES agent (tenant, id) ON DELETE CASCADE
);
SELECT frontdesk_guard('agent_version');

CREATE TABLE session (
    tenant        TEXT COLLATE "C" NOT NULL,
    id            TEXT COLLATE "C" NOT NULL,
    agent_id      TEXT COLLATE "C" NOT NULL,
    agent_version BIGINT NOT NULL,
    name          TEXT NOT NULL,
    head          TEXT COLLATE "C", -- the newest turn
    turns         BIGINT NOT NULL DEFAULT 0, -- how many turns it has had; the next one's pos
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, agent_id) REFERENCES agent (tenant, id) ON DELETE CASCADE
);
CREATE INDEX session_of_agent ON session (tenant, agent_id, id);
SELECT frontdesk_guard('session');

CREATE TABLE turn (
    tenant           TEXT COLLATE "C" NOT NULL,
    id               TEXT COLLATE "C" NOT NULL,
    agent_id         TEXT COLLATE "C" NOT NULL,
    agent_version    BIGINT NOT NULL,
    session_id       TEXT COLLATE "C",
    pos              BIGINT NOT NULL, -- place in its session, from 0
    parent           TEXT COLLATE "C", -- the turn this one continues
    state            TEXT COLLATE "C" NOT NULL,
    epoch            BIGINT NOT NULL, -- who may write: counts claims
    next_seq         BIGINT NOT NULL, -- sequence number of the next event
    lease_owner      TEXT COLLATE "C",
    lease_until      BIGINT, -- by the database's clock; null while nobody works on it
    on_input         TEXT COLLATE "C" NOT NULL, -- suspend | finish
    cancel_requested BOOLEAN NOT NULL,
    deadline         BIGINT, -- by the database's clock
    request          TEXT NOT NULL, -- what came with the turn besides its items
    usage            TEXT NOT NULL,
    error            TEXT,
    hand_off         TEXT,
    created_at       BIGINT NOT NULL,
    completed_at     BIGINT,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, agent_id) REFERENCES agent (tenant, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant, session_id) REFERENCES session (tenant, id) ON DELETE CASCADE
);
-- One writer per conversation.
CREATE UNIQUE INDEX turn_open ON turn (tenant, session_id) WHERE session_id IS NOT NULL AND state IN ('running', 'awaiting_input');
CREATE INDEX turn_of_session ON turn (tenant, session_id, pos);
CREATE INDEX turn_leased ON turn (lease_until) WHERE state = 'running';
CREATE INDEX turn_of_agent ON turn (tenant, agent_id);
SELECT frontdesk_guard('turn');

CREATE TABLE step (
    tenant       TEXT COLLATE "C" NOT NULL,
    turn_id      TEXT COLLATE "C" NOT NULL,
    n            BIGINT NOT NULL, -- from 0
    id           TEXT COLLATE "C" NOT NULL,
    kind         TEXT COLLATE "C" NOT NULL, -- inference | tool_execution | shield_call | memory_retrieval | approval
    state        TEXT COLLATE "C" NOT NULL, -- intent | done | failed | unknown
    idem_key     TEXT COLLATE "C" NOT NULL, -- goes with the effect; the same for every attempt
    input        TEXT, -- what is needed to do it (the call)
    output       TEXT,
    attempt      BIGINT NOT NULL,
    started_at   BIGINT NOT NULL,
    completed_at BIGINT,
    PRIMARY KEY (tenant, turn_id, n),
    FOREIGN KEY (tenant, turn_id) REFERENCES turn (tenant, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX step_idem_key ON step (tenant, idem_key);
SELECT frontdesk_guard('step');

-- The conversation.
CREATE TABLE item (
    tenant        TEXT COLLATE "C" NOT NULL,
    id            TEXT COLLATE "C" NOT NULL,
    turn_id       TEXT COLLATE "C" NOT NULL,
    pos           BIGINT NOT NULL, -- within the turn, from 0
    kind          TEXT COLLATE "C" NOT NULL,
    payload       TEXT NOT NULL,
    provider_data TEXT, -- {dialect, raw}: replayed to its own dialect only
    hidden        BOOLEAN NOT NULL, -- blocked by a shield: kept for the record, never shown to a model again
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, turn_id) REFERENCES turn (tenant, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX item_of_turn ON item (tenant, turn_id, pos);
SELECT frontdesk_guard('item');

-- What a stream shows; seq has no gaps.
CREATE TABLE event (
    tenant  TEXT COLLATE "C" NOT NULL,
    turn_id TEXT COLLATE "C" NOT NULL,
    seq     BIGINT NOT NULL,
    type    TEXT COLLATE "C" NOT NULL,
    payload TEXT NOT NULL,
    PRIMARY KEY (tenant, turn_id, seq),
    FOREIGN KEY (tenant, turn_id) REFERENCES turn (tenant, id) ON DELETE CASCADE
);
SELECT frontdesk_guard('event');

-- What reaches a turn from outside while it waits or runs: results of client tools, approvals, interrupts.
CREATE TABLE inbox (
    tenant     TEXT COLLATE "C" NOT NULL,
    turn_id    TEXT COLLATE "C" NOT NULL,
    key        TEXT COLLATE "C" NOT NULL, -- the call's id
    payload    TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, turn_id, key),
    FOREIGN KEY (tenant, turn_id) REFERENCES turn (tenant, id) ON DELETE CASCADE
);
SELECT frontdesk_guard('inbox');

-- Answers kept for the repetition of a request. scope is the operation; key is the client's.
CREATE TABLE idempotency (
    tenant       TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    scope        TEXT COLLATE "C" NOT NULL,
    key          TEXT COLLATE "C" NOT NULL,
    request_hash BYTEA NOT NULL,
    status       BIGINT, -- null: in flight
    body         TEXT,
    expires_at   BIGINT NOT NULL, -- by the database's clock
    PRIMARY KEY (tenant, scope, key)
);
CREATE INDEX idempotency_expired ON idempotency (expires_at);
SELECT frontdesk_guard('idempotency');
