-- The books: what every model call used and cost, and what was set aside for calls under way.
--
-- Costs are nano-USD (a billionth of a dollar). Rows name keys, agents and turns but do not refer to them: the books
-- outlive what they are about.

-- One row for each call of a model, written once, when the call has ended. A request of a route that asked several
-- providers has one for each that may have cost something.
CREATE TABLE usage (
    tenant                  TEXT COLLATE "C" NOT NULL,
    day                     BIGINT NOT NULL, -- of created_at, UTC, counted from 1970-01-01
    id                      TEXT COLLATE "C" NOT NULL,    -- drawn here: a client may send the same request id twice
    created_at              BIGINT NOT NULL, -- when the call began
    operation               TEXT COLLATE "C" NOT NULL,    -- chat | embeddings | rerank
    request_id              TEXT COLLATE "C" NOT NULL,
    key_id                  TEXT COLLATE "C" NOT NULL,
    agent_id                TEXT COLLATE "C",
    session_id              TEXT COLLATE "C",
    turn_id                 TEXT COLLATE "C",
    asked                   TEXT COLLATE "C" NOT NULL,    -- the model as the caller named it
    provider                TEXT COLLATE "C",             -- null: nobody was asked, or nobody can say who
    model                   TEXT COLLATE "C" NOT NULL,    -- provider/model that answered; else as asked
    status                  TEXT COLLATE "C" NOT NULL,    -- ok | error | cancelled | disconnected | outrun
    estimated               BOOLEAN NOT NULL, -- the tokens were not all counted by the provider
    input_tokens            BIGINT NOT NULL, -- all of the prompt
    cached_input_tokens     BIGINT NOT NULL, -- of the input
    cache_write_tokens      BIGINT NOT NULL, -- of the input
    long_cache_write_tokens BIGINT NOT NULL, -- of the cache writes
    output_tokens           BIGINT NOT NULL, -- all of the answer
    reasoning_tokens        BIGINT NOT NULL, -- of the output
    cost                    BIGINT,          -- null: the model has no price
    latency_us              BIGINT NOT NULL, -- from asking to the end
    first_us                BIGINT,          -- from asking to the first piece of the answer
    PRIMARY KEY (tenant, day, id)
);
SELECT frontdesk_guard('usage');

-- Money a process has set aside for a tenant's calls, written before they spend it. used only counts what has a row
-- in usage; the rest of a slice that was not returned counts as spent.
CREATE TABLE budget_slice (
    tenant      TEXT COLLATE "C" NOT NULL,
    id          TEXT COLLATE "C" NOT NULL,
    leased      BIGINT NOT NULL, -- in all, while it was open
    used        BIGINT NOT NULL,
    opened_at   BIGINT NOT NULL,
    lease_until BIGINT NOT NULL, -- by the database's clock; past it, its process is dead
    returned_at BIGINT,          -- by the database's clock
    PRIMARY KEY (tenant, id)
);
SELECT frontdesk_guard('budget_slice');
CREATE INDEX budget_slice_open ON budget_slice (tenant, lease_until) WHERE returned_at IS NULL;
