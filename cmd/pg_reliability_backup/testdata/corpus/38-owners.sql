-- Objects owned by many roles, in schemas owned by others, and a role that owns nothing but is granted.
CREATE ROLE c38_a; CREATE ROLE c38_b; CREATE ROLE c38_group; GRANT c38_group TO c38_a, c38_b;
CREATE DATABASE c38 OWNER c38_a;
\connect c38
CREATE SCHEMA s AUTHORIZATION c38_a;
CREATE TABLE s.t (i int); ALTER TABLE s.t OWNER TO c38_group;
GRANT CREATE ON SCHEMA s TO c38_b;
CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION s.f() OWNER TO c38_b;
CREATE SEQUENCE s.q OWNED BY NONE; ALTER SEQUENCE s.q OWNER TO c38_b;
ALTER SCHEMA public OWNER TO c38_b;
