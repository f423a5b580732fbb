-- Signing in by OAuth at the servers of tool groups.

-- What the operator says of tools that nobody could list yet; null: it stands in the tools.
ALTER TABLE toolgroup ADD COLUMN overrides TEXT;

-- What a group is let in with.
CREATE TABLE sign_in (
    tenant       TEXT COLLATE "C" NOT NULL,
    toolgroup_id TEXT COLLATE "C" NOT NULL,
    sealed       BYTEA, -- the tokens, and how they are renewed; null: nobody signed in
    expires_at   BIGINT, -- when the token does; null: it does not say
    problem      TEXT, -- why a person has to sign in; null: nobody has to
    scope        TEXT, -- what the server asked for beside what it had given; null: nothing
    version      BIGINT NOT NULL, -- of the tokens: one more with every change of them, and with no other
    held_until   BIGINT NOT NULL, -- nobody else renews until then, by the database's clock
    failures     BIGINT NOT NULL, -- how often in a row that failed
    updated_at   BIGINT NOT NULL, -- when the tokens changed
    PRIMARY KEY (tenant, toolgroup_id),
    FOREIGN KEY (tenant, toolgroup_id) REFERENCES toolgroup (tenant, id) ON DELETE CASCADE
);
SELECT frontdesk_guard('sign_in');

-- A person who was sent to a server and is not back yet.
CREATE TABLE sign_in_attempt (
    tenant       TEXT COLLATE "C" NOT NULL,
    id           TEXT COLLATE "C" NOT NULL, -- the hash of the state that travels with them
    toolgroup_id TEXT COLLATE "C" NOT NULL,
    sealed       BYTEA NOT NULL,
    expires_at   BIGINT NOT NULL, -- by the database's clock
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, toolgroup_id) REFERENCES toolgroup (tenant, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX sign_in_attempt_id ON sign_in_attempt (id);
SELECT frontdesk_guard('sign_in_attempt');
