-- Functions of many kinds: procedures, SQL-standard bodies, variadic, window, with settings, bodies that look like psql.
CREATE DATABASE c34;
\connect c34
CREATE PROCEDURE p(INOUT a int) LANGUAGE plpgsql AS $$ BEGIN a := a + 1; END $$;
CREATE FUNCTION standard(a int) RETURNS int RETURN a + 1;
CREATE FUNCTION atomic() RETURNS TABLE (x int, y text) BEGIN ATOMIC SELECT 1 AS x, E'it''s\n'::text AS y; SELECT 2 AS x, 'b'::text AS y; END;
CREATE FUNCTION many(VARIADIC a int[]) RETURNS int LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT cardinality(a)';
SET check_function_bodies = off;
CREATE FUNCTION odd() RETURNS text LANGUAGE plpgsql SET search_path = '', "a b", 'c,d' SET "DateStyle" = 'ISO' AS $f$
BEGIN
\connect postgres
\! id
-- \.
RETURN 'x';
END $f$;
CREATE TABLE t (i int DEFAULT many(1, 2, 3), d text DEFAULT 'a;b');
INSERT INTO t DEFAULT VALUES;
