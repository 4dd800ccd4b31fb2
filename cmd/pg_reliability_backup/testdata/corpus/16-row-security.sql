-- Row-level security, forced for the owner too.
CREATE ROLE c16_tenant LOGIN;
CREATE DATABASE c16;
\connect c16
CREATE TABLE t (tenant name, v text);
INSERT INTO t VALUES ('c16_tenant', 'mine'), ('other', 'theirs');
ALTER TABLE t OWNER TO c16_tenant;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
ALTER TABLE t FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON t USING (tenant = current_user) WITH CHECK (tenant = current_user);
CREATE POLICY readers ON t AS RESTRICTIVE FOR SELECT TO c16_tenant USING (v <> 'hidden');
