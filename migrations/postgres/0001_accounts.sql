-- Tenants and their keys, and the wall between tenants.
--
-- Conventions of every migration: ids and other compared text are COLLATE "C" (bytes, as SQLite compares),
-- times are BIGINT microseconds UTC, primary keys begin with tenant, and after creating a table of tenants'
-- rows comes `SELECT frontdesk_guard('the_table');`. A migration that changes rows begins with
-- `SET LOCAL frontdesk.door = 'system';`, since policies are forced on the owner too.

-- Puts a table behind row-level security: a transaction sees the rows of the tenant named in
-- frontdesk.tenant and, where that is missing or empty, none. The system door is closed to the role that
-- tenant transactions take, whatever they set.
CREATE FUNCTION frontdesk_guard(guarded regclass, tenant_column name DEFAULT 'tenant') RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', guarded);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', guarded);
    EXECUTE format('CREATE POLICY of_tenant ON %s USING (%I = current_setting(''frontdesk.tenant'', true))', guarded, tenant_column);
    EXECUTE format('CREATE POLICY of_system ON %s USING (current_user <> ''frontdesk_app'' AND current_setting(''frontdesk.door'', true) = ''system'')', guarded);
END $$;

CREATE TABLE tenant (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY CHECK (id <> ''),
    name       TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
SELECT frontdesk_guard('tenant', 'id');

-- The key itself is nowhere: hash is a keyed BLAKE3 of the whole key, the pepper is outside the database.
CREATE TABLE api_key (
    tenant       TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    id           TEXT COLLATE "C" NOT NULL,
    name         TEXT NOT NULL,
    hash         BYTEA NOT NULL UNIQUE,
    scopes       JSONB NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    revoked_at   BIGINT,
    last_used_at BIGINT,
    changed_at   BIGINT NOT NULL, -- by the database's clock; not touched by last_used_at
    PRIMARY KEY (tenant, id)
);
-- Every gateway asks every few seconds, over all tenants, what changed.
CREATE INDEX api_key_changed ON api_key (changed_at);
SELECT frontdesk_guard('api_key');

-- Facts about this installation as a whole; only the system door sees them.
CREATE TABLE installation (
    name  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
ALTER TABLE installation ENABLE ROW LEVEL SECURITY;
ALTER TABLE installation FORCE ROW LEVEL SECURITY;
CREATE POLICY of_system ON installation USING (current_user <> 'frontdesk_app' AND current_setting('frontdesk.door', true) = 'system');
