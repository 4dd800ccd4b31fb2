-- Since 17: the MAINTAIN privilege, the builtin locale provider, identities of partitioned tables, a setting
-- of the database for transaction_timeout that would end a dump and a restore.
CREATE ROLE n17_a;
CREATE DATABASE c_n17 TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C';
ALTER DATABASE c_n17 SET transaction_timeout = '20ms';
ALTER ROLE ALL IN DATABASE c_n17 SET event_triggers = off;
\connect c_n17
SET transaction_timeout = 0;
CREATE TABLE t (i int GENERATED ALWAYS AS IDENTITY, d date NOT NULL) PARTITION BY RANGE (d);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO t (d) SELECT '2026-01-01'::date + g FROM generate_series(1, 100) g;
GRANT MAINTAIN ON t TO n17_a;
ALTER DEFAULT PRIVILEGES GRANT MAINTAIN ON TABLES TO n17_a;
CREATE TABLE big AS SELECT g AS i, repeat(md5(g::text), 10) AS v FROM generate_series(1, 20000) g;
CREATE INDEX ON big (v);
