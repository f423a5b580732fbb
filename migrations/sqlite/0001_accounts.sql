-- Tenants and their keys.
--
-- Conventions of every migration: tables are STRICT, times are INTEGER microseconds UTC, primary keys begin
-- with tenant.

CREATE TABLE tenant (
    id         TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- The key itself is nowhere: hash is a keyed BLAKE3 of the whole key, the pepper is outside the database.
CREATE TABLE api_key (
    tenant       TEXT NOT NULL REFERENCES tenant (id),
    id           TEXT NOT NULL,
    name         TEXT NOT NULL,
    hash         BLOB NOT NULL UNIQUE,
    scopes       TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER,
    changed_at   INTEGER NOT NULL, -- by the database's clock; not touched by last_used_at
    PRIMARY KEY (tenant, id)
) STRICT;
-- Every gateway asks every few seconds, over all tenants, what changed.
CREATE INDEX api_key_changed ON api_key (changed_at);

-- Facts about this installation as a whole.
CREATE TABLE installation (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
