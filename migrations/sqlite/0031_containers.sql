-- What code of the code interpreter works in, and the files it wrote there.

CREATE TABLE container (
    tenant         TEXT NOT NULL,
    id             TEXT NOT NULL,
    name           TEXT NOT NULL,
    session_id     TEXT, -- the conversation it is of, and whose it is then
    turn_id        TEXT, -- of a line of responses: the last one that ran code in it
    agent_id       TEXT, -- whose code it runs; null: a client made it
    customer       TEXT,
    issuer         TEXT,
    expire_minutes INTEGER NOT NULL, -- how long it is kept after it was used
    created_at     INTEGER NOT NULL,
    last_active_at INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, session_id) REFERENCES session (tenant, id) ON DELETE CASCADE
) STRICT;
CREATE UNIQUE INDEX container_of_session ON container (tenant, session_id, agent_id, coalesce(customer, ''), coalesce(issuer, '')) WHERE session_id IS NOT NULL;
CREATE INDEX container_of_turn ON container (tenant, turn_id) WHERE turn_id IS NOT NULL;
-- Every gateway asks every few seconds, over all tenants, which have had their time.
CREATE INDEX container_expires ON container (expires_at);

CREATE TABLE container_file (
    tenant       TEXT NOT NULL,
    id           TEXT NOT NULL,
    container_id TEXT NOT NULL,
    name         TEXT NOT NULL, -- in the working folder
    source       TEXT NOT NULL, -- assistant (code wrote it) | user
    turn_id      TEXT, -- the turn whose code wrote it
    run          TEXT, -- the idempotency key of the run that did
    bytes        INTEGER NOT NULL,
    hash         BLOB NOT NULL, -- BLAKE3 of the content
    content      BLOB NOT NULL,
    blob         TEXT, -- where the content is, if not in the row: the key of a blob that is kept
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, container_id) REFERENCES container (tenant, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX container_file_of_container ON container_file (tenant, container_id, id);
CREATE INDEX container_file_of_turn ON container_file (tenant, turn_id) WHERE turn_id IS NOT NULL;

-- However a file goes, with its container and that with its conversation too, its content is loose from then on.
CREATE TRIGGER container_file_releases_blob AFTER DELETE ON container_file FOR EACH ROW WHEN OLD.blob IS NOT NULL
BEGIN
    UPDATE blob SET state = 'dead', lease_until = 0, clears = 1 WHERE tenant = OLD.tenant AND key = OLD.blob;
END;
