-- Statistics on an expression whose function names another one without its schema: ANALYZE fails with a fixed search_path.
CREATE DATABASE c05;
\connect c05
CREATE FUNCTION g(a int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT a % 7';
CREATE FUNCTION f(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN g(a); END $$;
CREATE TABLE t (a int, b int);
INSERT INTO t SELECT i, i FROM generate_series(1, 1000) i;
CREATE STATISTICS s ON (f(a)), b FROM t;
