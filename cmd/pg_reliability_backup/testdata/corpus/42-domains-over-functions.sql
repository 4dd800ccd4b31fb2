-- A domain whose check calls a function that reads a table: the rows come back only in the right order.
CREATE DATABASE c42;
\connect c42
CREATE TABLE allowed (code text PRIMARY KEY);
INSERT INTO allowed VALUES ('a'), ('b');
CREATE FUNCTION is_code(text) RETURNS boolean STABLE LANGUAGE sql AS $$ SELECT $1 ~ '^[a-z]$' $$;
CREATE DOMAIN code AS text CHECK (is_code(VALUE));
CREATE TABLE t (c code, i int);
INSERT INTO t SELECT chr(97 + i % 26), i FROM generate_series(1, 260) i;
