-- The role of pg_reliability_exporter, for PostgreSQL 13 to 19.
--
-- Run it once for each cluster, in any database, as a superuser or as a role that may create roles and hand out
-- pg_monitor (on a managed service: its administrator), then choose the password:
--
--     psql --dbname=postgres --set=ON_ERROR_STOP=1 --file=monitoring_role.sql
--     psql --dbname=postgres --command='\password reliability_exporter'
--
-- It may be run again at any time: it changes what is named here and leaves the password alone. To remove the
-- role: in each database DROP OWNED BY reliability_exporter, then once DROP ROLE reliability_exporter;
--
-- The role reads statistics (pg_monitor) and no table of yours. Where CONNECT was taken from PUBLIC, give it back
-- to the role: GRANT CONNECT ON DATABASE shop TO reliability_exporter;
-- pg_stat_statements in a schema of its own: GRANT USAGE ON SCHEMA extensions TO reliability_exporter;
-- How far sequences have come is told by sequences.sql.

BEGIN;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'reliability_exporter') THEN
        CREATE ROLE reliability_exporter;
    ELSIF EXISTS (SELECT FROM pg_catalog.pg_roles
                   WHERE rolname = 'reliability_exporter'
                     AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)) THEN
        RAISE EXCEPTION 'role reliability_exporter exists and may do more than monitoring needs, nothing was changed'
              USING HINT = 'Take SUPERUSER, CREATEROLE, CREATEDB, REPLICATION and BYPASSRLS from it with ALTER ROLE.';
    END IF;
END
$$;

-- An exporter holds 4 connections at the most (--pool.max-conns). The limit leaves room for several, and for one
-- that was just replaced, and keeps the rest of max_connections for those it is there for.
ALTER ROLE reliability_exporter LOGIN CONNECTION LIMIT 20;

GRANT pg_monitor TO reliability_exporter;

-- The exporter sets limits of its own for each session. These hold where it can't, between it and the server's
-- process behind a pooler, and for people who log in as this role.
ALTER ROLE reliability_exporter SET statement_timeout = '30s';
ALTER ROLE reliability_exporter SET lock_timeout = '1s';
ALTER ROLE reliability_exporter SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE reliability_exporter SET search_path = pg_catalog;

COMMENT ON ROLE reliability_exporter IS 'pg_reliability_exporter: reads statistics, owns nothing';

COMMIT;
