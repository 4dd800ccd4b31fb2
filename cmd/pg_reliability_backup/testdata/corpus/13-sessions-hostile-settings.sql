-- Settings of the database that break long sessions and what they print.
CREATE DATABASE c13;
ALTER DATABASE c13 SET idle_session_timeout = '200ms';
ALTER DATABASE c13 SET statement_timeout = '300ms';
ALTER DATABASE c13 SET idle_in_transaction_session_timeout = '200ms';
ALTER DATABASE c13 SET lock_timeout = '1ms';
ALTER DATABASE c13 SET default_transaction_read_only = on;
ALTER DATABASE c13 SET "DateStyle" = 'SQL, DMY';
ALTER DATABASE c13 SET "IntervalStyle" = 'sql_standard';
ALTER DATABASE c13 SET extra_float_digits = -15;
ALTER DATABASE c13 SET bytea_output = 'escape';
ALTER DATABASE c13 SET quote_all_identifiers = on;
ALTER DATABASE c13 SET standard_conforming_strings = off;
ALTER DATABASE c13 SET client_encoding = 'LATIN1';
ALTER DATABASE c13 SET "TimeZone" = 'America/St_Johns';
ALTER DATABASE c13 SET row_security = off;
ALTER DATABASE c13 SET default_transaction_isolation = 'serializable';
ALTER DATABASE c13 SET session_replication_role = 'replica';
\connect c13
SET default_transaction_read_only = off; SET statement_timeout = 0; SET lock_timeout = 0;
SET idle_session_timeout = 0; SET standard_conforming_strings = on; SET client_encoding = 'UTF8'; SET session_replication_role = 'origin';
CREATE TABLE t (i int PRIMARY KEY, at timestamptz, d date, f float8, n interval, b bytea, v text);
INSERT INTO t SELECT i, '2026-01-02 03:04:05.678901+00'::timestamptz + i * interval '1.5 day', date '2026-02-03' + i, i / 3.0,
    i * interval '1 mon 2 days 03:04:05.6', decode(md5(i::text), 'hex'), E'back\\slash ''quote'' é' FROM generate_series(1, 2000) i;
