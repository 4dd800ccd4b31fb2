-- The owner of a database shadows operators and functions, and puts his schema before pg_catalog.
CREATE ROLE c14_owner LOGIN;
CREATE DATABASE c14 OWNER c14_owner;
\connect c14
SET ROLE c14_owner;
CREATE SCHEMA evil;
CREATE TABLE evil.trace (who text);
GRANT ALL ON evil.trace TO PUBLIC;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE FUNCTION evil.trap(int, int) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$
BEGIN INSERT INTO evil.trace VALUES (current_user); RETURN true; END $$;
CREATE OPERATOR evil.<> (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.trap);
CREATE OPERATOR evil.= (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.trap);
CREATE FUNCTION evil.count(int) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint';
ALTER DATABASE c14 SET search_path = evil, pg_catalog, public;
CREATE TABLE public.t (i int);
INSERT INTO public.t VALUES (1), (2), (3);
RESET ROLE;
