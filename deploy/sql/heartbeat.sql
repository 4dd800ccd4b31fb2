-- The table of the write probe, for PostgreSQL 13 to 19. Only needed with the write probe switched on.
--
-- Run it as a superuser, in the database the exporter connects to, after the role reliability_exporter exists:
--
--     psql --dbname=DATABASE --file=heartbeat.sql
--
-- Whoever owns the table could hang code on it that runs as reliability_exporter, with what pg_monitor sees. The write probe
-- therefore refuses a table or schema whose owner could not act as that role anyway, and one with triggers, rules, row
-- security, defaults or other columns. Where there is no superuser to run this (managed servers), its owner must
-- be a member of the role, and gets with it what pg_monitor sees: GRANT reliability_exporter TO owner.
--
-- It may be run again at any time, and then takes over what another owner has made before. Each exporter keeps one row, so
-- the table holds as many rows as there are exporters. To remove all of it: DROP SCHEMA reliability CASCADE;

SET client_min_messages = warning;

CREATE SCHEMA IF NOT EXISTS reliability;

CREATE TABLE IF NOT EXISTS reliability.heartbeat (
    instance text        PRIMARY KEY,
    beat_at  timestamptz NOT NULL,
    beats    bigint      NOT NULL
)
-- Room for updates in place: no index entry, and dead versions go with the next update, without a vacuum.
WITH (fillfactor = 10);

COMMENT ON TABLE reliability.heartbeat IS 'One row per pg_reliability_exporter: its last committed write probe';

ALTER SCHEMA reliability OWNER TO CURRENT_USER;
ALTER TABLE reliability.heartbeat OWNER TO CURRENT_USER;
REVOKE ALL ON SCHEMA reliability FROM PUBLIC;
REVOKE ALL ON reliability.heartbeat FROM PUBLIC;
GRANT USAGE ON SCHEMA reliability TO reliability_exporter;
-- SELECT is what ON CONFLICT needs.
GRANT SELECT, INSERT, UPDATE ON reliability.heartbeat TO reliability_exporter;
