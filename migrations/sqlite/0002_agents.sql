-- Agents, their conversations and the durable turn: every step of an agent's work is a row here before
-- anyone sees it. JSON is kept as TEXT: the bytes that were written are the bytes that are shown, and what
-- models and customers write may hold characters that a binary JSON column refuses.

CREATE TABLE agent (
    tenant     TEXT NOT NULL REFERENCES tenant (id),
    id         TEXT NOT NULL,
    name       TEXT, -- unique where given; a spec's name
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE UNIQUE INDEX agent_name ON agent (tenant, name) WHERE name IS NOT NULL;

-- One row for each change; conversations stay on the version they began with.
CREATE TABLE agent_version (
    tenant     TEXT NOT NULL,
    agent_id   TEXT NOT NULL,
    version    INTEGER NOT NULL,
    spec       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, agent_id, version),
    FOREIGN KEY (tenant, agent_id) REFERENCES agent (tenant, id) ON DELETE CASCADE
) STRICT;

CREATE TABLE session (
    tenant        TEXT NOT NULL,
    id            TEXT NOT NULL,
    agent_id      TEXT NOT NULL,
    agent_version INTEGER NOT NULL,
    name          TEXT NOT NULL,
    head          TEXT, -- the newest turn
    turns         INTEGER NOT NULL DEFAULT 0, -- how many turns it has had; the next one's pos
    created_at    INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, agent_id) REFERENCES agent (tenant, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX session_of_agent ON session (tenant, agent_id, id);

CREATE TABLE turn (
    tenant           TEXT NOT NULL,
    id               TEXT NOT NULL,
    agent_id         TEXT NOT NULL,
    agent_version    INTEGER NOT NULL,
    session_id       TEXT,
    pos              INTEGER NOT NULL, -- place in its session, from 0
    parent           TEXT, -- the turn this one continues
    state            TEXT NOT NULL,
    epoch            INTEGER NOT NULL, -- who may write: counts claims
    next_seq         INTEGER NOT NULL, -- sequence number of the next event
    lease_owner      TEXT,
    lease_until      INTEGER, -- by the database's clock; null while nobody works on it
    on_input         TEXT NOT NULL, -- suspend | finish
    cancel_requested INTEGER NOT NULL,
    deadline         INTEGER, -- by the database's clock
    request          TEXT NOT NULL, -- what came with the turn besides its items
    usage            TEXT NOT NULL,
    error            TEXT,
    hand_off         TEXT,
    created_at       INTEGER NOT NULL,
    completed_at     INTEGER,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, agent_id) REFERENCES agent (tenant, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant, session_id) REFERENCES session (tenant, id) ON DELETE CASCADE
) STRICT;
-- One writer per conversation.
CREATE UNIQUE INDEX turn_open ON turn (tenant, session_id) WHERE session_id IS NOT NULL AND state IN ('running', 'awaiting_input');
CREATE INDEX turn_of_session ON turn (tenant, session_id, pos);
CREATE INDEX turn_leased ON turn (lease_until) WHERE state = 'running';
CREATE INDEX turn_of_agent ON turn (tenant, agent_id);

CREATE TABLE step (
    tenant       TEXT NOT NULL,
    turn_id      TEXT NOT NULL,
    n            INTEGER NOT NULL, -- from 0
    id           TEXT NOT NULL,
    kind         TEXT NOT NULL, -- inference | tool_execution | shield_call | memory_retrieval | approval
    state        TEXT NOT NULL, -- intent | done | failed | unknown
    idem_key     TEXT NOT NULL, -- goes with the effect; the same for every attempt
    input        TEXT, -- what is needed to do it (the call)
    output       TEXT,
    attempt      INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,
    completed_at INTEGER,
    PRIMARY KEY (tenant, turn_id, n),
    FOREIGN KEY (tenant, turn_id) REFERENCES turn (tenant, id) ON DELETE CASCADE
) STRICT;
CREATE UNIQUE INDEX step_idem_key ON step (tenant, idem_key);

-- The conversation.
CREATE TABLE item (
    tenant        TEXT NOT NULL,
    id            TEXT NOT NULL,
    turn_id       TEXT NOT NULL,
    pos           INTEGER NOT NULL, -- within the turn, from 0
    kind          TEXT NOT NULL,
    payload       TEXT NOT NULL,
    provider_data TEXT, -- {dialect, raw}: replayed to its own dialect only
    hidden        INTEGER NOT NULL, -- blocked by a shield: kept for the record, never shown to a model again
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, turn_id) REFERENCES turn (tenant, id) ON DELETE CASCADE
) STRICT;
CREATE UNIQUE INDEX item_of_turn ON item (tenant, turn_id, pos);

-- What a stream shows; seq has no gaps.
CREATE TABLE event (
    tenant  TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    type    TEXT NOT NULL,
    payload TEXT NOT NULL,
    PRIMARY KEY (tenant, turn_id, seq),
    FOREIGN KEY (tenant, turn_id) REFERENCES turn (tenant, id) ON DELETE CASCADE
) STRICT;

-- What reaches a turn from outside while it waits or runs: results of client tools, approvals, interrupts.
CREATE TABLE inbox (
    tenant     TEXT NOT NULL,
    turn_id    TEXT NOT NULL,
    key        TEXT NOT NULL, -- the call's id
    payload    TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, turn_id, key),
    FOREIGN KEY (tenant, turn_id) REFERENCES turn (tenant, id) ON DELETE CASCADE
) STRICT;

-- Answers kept for the repetition of a request. scope is the operation; key is the client's.
CREATE TABLE idempotency (
    tenant       TEXT NOT NULL REFERENCES tenant (id),
    scope        TEXT NOT NULL,
    key          TEXT NOT NULL,
    request_hash BLOB NOT NULL,
    status       INTEGER, -- null: in flight
    body         TEXT,
    expires_at   INTEGER NOT NULL, -- by the database's clock
    PRIMARY KEY (tenant, scope, key)
) STRICT;
CREATE INDEX idempotency_expired ON idempotency (expires_at);
