-- The books: what every model call used and cost, and what was set aside for calls under way.
--
-- Costs are nano-USD (a billionth of a dollar). Rows name keys, agents and turns but do not refer to them: the books
-- outlive what they are about.

-- One row for each call of a model, written once, when the call has ended. A request of a route that asked several
-- providers has one for each that may have cost something.
CREATE TABLE usage (
    tenant                  TEXT NOT NULL,
    day                     INTEGER NOT NULL, -- of created_at, UTC, counted from 1970-01-01
    id                      TEXT NOT NULL,    -- drawn here: a client may send the same request id twice
    created_at              INTEGER NOT NULL, -- when the call began
    operation               TEXT NOT NULL,    -- chat | embeddings | rerank
    request_id              TEXT NOT NULL,
    key_id                  TEXT NOT NULL,
    agent_id                TEXT,
    session_id              TEXT,
    turn_id                 TEXT,
    asked                   TEXT NOT NULL,    -- the model as the caller named it
    provider                TEXT,             -- null: nobody was asked, or nobody can say who
    model                   TEXT NOT NULL,    -- provider/model that answered; else as asked
    status                  TEXT NOT NULL,    -- ok | error | cancelled | disconnected | outrun
    estimated               INTEGER NOT NULL, -- the tokens were not all counted by the provider
    input_tokens            INTEGER NOT NULL, -- all of the prompt
    cached_input_tokens     INTEGER NOT NULL, -- of the input
    cache_write_tokens      INTEGER NOT NULL, -- of the input
    long_cache_write_tokens INTEGER NOT NULL, -- of the cache writes
    output_tokens           INTEGER NOT NULL, -- all of the answer
    reasoning_tokens        INTEGER NOT NULL, -- of the output
    cost                    INTEGER,          -- null: the model has no price
    latency_us              INTEGER NOT NULL, -- from asking to the end
    first_us                INTEGER,          -- from asking to the first piece of the answer
    PRIMARY KEY (tenant, day, id)
) STRICT, WITHOUT ROWID;

-- Money a process has set aside for a tenant's calls, written before they spend it. used only counts what has a row
-- in usage; the rest of a slice that was not returned counts as spent.
CREATE TABLE budget_slice (
    tenant      TEXT NOT NULL,
    id          TEXT NOT NULL,
    leased      INTEGER NOT NULL, -- in all, while it was open
    used        INTEGER NOT NULL,
    opened_at   INTEGER NOT NULL,
    lease_until INTEGER NOT NULL, -- by the database's clock; past it, its process is dead
    returned_at INTEGER,          -- by the database's clock
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX budget_slice_open ON budget_slice (tenant, lease_until) WHERE returned_at IS NULL;
