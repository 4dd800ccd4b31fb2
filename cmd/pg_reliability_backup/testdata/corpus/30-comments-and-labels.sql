-- Comments with line breaks on everything.
CREATE DATABASE c30;
COMMENT ON DATABASE c30 IS E'-- \\connect postgres\n\\! id\n';
\connect c30
CREATE TABLE t (i int);
COMMENT ON TABLE t IS E'\\.\n\\connect postgres\nDROP TABLE t;';
COMMENT ON COLUMN t.i IS E'line\r\nbreak';
COMMENT ON SCHEMA public IS 'changed by a user';
CREATE FUNCTION f(a int, b text DEFAULT E'x\ny') RETURNS text LANGUAGE sql AS $body$ SELECT $$nested$$ || b $body$;
COMMENT ON FUNCTION f(int, text) IS $$it's$$;
INSERT INTO t SELECT generate_series(1, 5);
