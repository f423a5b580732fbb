-- The role that tenant transactions take: it owns nothing, cannot log in and never bypasses a policy.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'frontdesk_app') THEN
        CREATE ROLE frontdesk_app NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
    END IF;
    -- Superusers may become any role; another login needs to be a member, and since version 16 the maker
    -- of a role is not one by itself.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
       AND NOT pg_has_role(current_user, 'frontdesk_app', 'MEMBER') THEN
        EXECUTE format('GRANT frontdesk_app TO %I', current_user);
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO frontdesk_app', current_schema());
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO frontdesk_app', current_schema());
    EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %I TO frontdesk_app', current_schema());
    REVOKE ALL ON _sqlx_migrations FROM frontdesk_app;
END $$;
-- Fails here, and so undoes all of the above, where this login may not become it.
SET LOCAL ROLE frontdesk_app;
RESET ROLE;
