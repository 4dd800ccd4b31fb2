-- A CHECK whose function reads a custom setting of the database.
CREATE DATABASE c12;
ALTER DATABASE c12 SET app.maximum = '100';
\connect c12
CREATE FUNCTION allowed(i int) RETURNS boolean STABLE LANGUAGE sql AS $$ SELECT i <= current_setting('app.maximum')::int $$;
CREATE TABLE t (i int CHECK (allowed(i)));
INSERT INTO t SELECT generate_series(1, 100);
