-- A materialized view whose function resolves names by its own search_path.
CREATE DATABASE c25;
\connect c25
CREATE SCHEMA lib;
CREATE TABLE lib.factor (f int);
INSERT INTO lib.factor VALUES (3);
CREATE FUNCTION lib.times(i int) RETURNS int STABLE LANGUAGE plpgsql SET search_path = lib AS $$ BEGIN RETURN i * (SELECT f FROM factor); END $$;
CREATE TABLE t AS SELECT generate_series(1, 50) AS i;
CREATE MATERIALIZED VIEW m AS SELECT i, lib.times(i) AS f FROM t;
CREATE INDEX ON m ((f + 1));
