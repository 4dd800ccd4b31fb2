-- The role of pg_reliability_backup, for PostgreSQL 14 to 19.
--
-- Run it once for each cluster, as a superuser, then choose the password:
--
--     psql --dbname=postgres --set=ON_ERROR_STOP=1 --file=backup_role.sql
--     psql --dbname=postgres --command='\password reliability_backup'
--
-- It may be run again at any time: it changes what is named here and leaves the password alone.
--
-- It reads everything and changes nothing. pg_read_all_data covers tables made later, and the
-- roles' password hashes, so that restored roles can log in. A table with row-level security makes
-- its database's dump fail, unless the role may bypass it: that is a choice, see the last statement.
--
-- PostgreSQL 13 has no pg_read_all_data: there the job needs a superuser.
--
-- Restoring takes more: a superuser (roles, owners, ending sessions), such as the administrator's own.

BEGIN;

SET LOCAL client_min_messages = warning;  -- the second time, the grants are there

DO $$
DECLARE
    d record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'reliability_backup') THEN
        CREATE ROLE reliability_backup;
    END IF;

    ALTER ROLE reliability_backup
      LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION
      CONNECTION LIMIT 10;  -- maintenance, lock, snapshot, counting, pg_dump and its jobs

    GRANT pg_read_all_data, pg_monitor TO reliability_backup;

    -- Where CONNECT was revoked from PUBLIC, as guides to hardening say, the role needs it of its own. On databases of others
    -- (of a managed service, say) nobody but their owner can grant it: name those with --exclude-database. What is made later
    -- without CONNECT for PUBLIC needs it, too: a run says which, ends with code 16, and names the statement.
    FOR d IN
        SELECT datname
          FROM pg_catalog.pg_database
         WHERE datallowconn AND datconnlimit <> -2 AND pg_catalog.pg_has_role(datdba, 'USAGE')
           AND NOT pg_catalog.has_database_privilege('reliability_backup', oid, 'CONNECT')
    LOOP
        EXECUTE pg_catalog.format('GRANT CONNECT ON DATABASE %I TO reliability_backup', d.datname);
    END LOOP;
END
$$;

-- Dumps take as long as they take: limits set for everybody must not end them.
ALTER ROLE reliability_backup SET statement_timeout = 0;
ALTER ROLE reliability_backup SET idle_in_transaction_session_timeout = 0;
ALTER ROLE reliability_backup SET default_transaction_read_only = on;

-- Where row-level security applies to tables that must be in the backup, uncomment:
-- ALTER ROLE reliability_backup BYPASSRLS;

COMMIT;
