-- What code of the code interpreter works in, and the files it wrote there.

CREATE TABLE container (
    tenant         TEXT COLLATE "C" NOT NULL,
    id             TEXT COLLATE "C" NOT NULL,
    name           TEXT NOT NULL,
    session_id     TEXT COLLATE "C", -- the conversation it is of, and whose it is then
    turn_id        TEXT COLLATE "C", -- of a line of responses: the last one that ran code in it
    agent_id       TEXT COLLATE "C", -- whose code it runs; null: a client made it
    customer       TEXT COLLATE "C",
    issuer         TEXT COLLATE "C",
    expire_minutes BIGINT NOT NULL, -- how long it is kept after it was used
    created_at     BIGINT NOT NULL,
    last_active_at BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, session_id) REFERENCES session (tenant, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX container_of_session ON container (tenant, session_id, agent_id, coalesce(customer, ''), coalesce(issuer, '')) WHERE session_id IS NOT NULL;
CREATE INDEX container_of_turn ON container (tenant, turn_id) WHERE turn_id IS NOT NULL;
-- Every gateway asks every few seconds, over all tenants, which have had their time.
CREATE INDEX container_expires ON container (expires_at);
SELECT frontdesk_guard('container');

CREATE TABLE container_file (
    tenant       TEXT COLLATE "C" NOT NULL,
    id           TEXT COLLATE "C" NOT NULL,
    container_id TEXT COLLATE "C" NOT NULL,
    name         TEXT NOT NULL, -- in the working folder
    source       TEXT COLLATE "C" NOT NULL, -- assistant (code wrote it) | user
    turn_id      TEXT COLLATE "C", -- the turn whose code wrote it
    run          TEXT COLLATE "C", -- the idempotency key of the run that did
    bytes        BIGINT NOT NULL,
    hash         BYTEA NOT NULL, -- BLAKE3 of the content
    content      BYTEA NOT NULL,
    blob         TEXT COLLATE "C", -- where the content is, if not in the row: the key of a blob that is kept
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, container_id) REFERENCES container (tenant, id) ON DELETE CASCADE
);
CREATE INDEX container_file_of_container ON container_file (tenant, container_id, id);
CREATE INDEX container_file_of_turn ON container_file (tenant, turn_id) WHERE turn_id IS NOT NULL;
SELECT frontdesk_guard('container_file');

-- However a file goes, with its container and that with its conversation too, its content is loose from then on.
CREATE FUNCTION frontdesk_release_blob() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE blob SET state = 'dead', lease_until = 0, clears = 1 WHERE tenant = OLD.tenant AND key = OLD.blob;
    RETURN NULL;
END $$;
CREATE TRIGGER container_file_releases_blob AFTER DELETE ON container_file FOR EACH ROW WHEN (OLD.blob IS NOT NULL)
EXECUTE FUNCTION frontdesk_release_blob();
