-- Since 18: virtual generated columns, constraints NOT NULL with names and not valid, NOT ENFORCED, WITHOUT OVERLAPS, PERIOD,
-- statistics that pg_dump carries, the scheme PG_UNICODE_FAST.
CREATE ROLE n18_a;
CREATE DATABASE c_n18 TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'PG_UNICODE_FAST' LOCALE 'C';
\connect c_n18
CREATE EXTENSION btree_gist;
CREATE TABLE t (i int CONSTRAINT "there ""must"" be one" NOT NULL, j int, twice int GENERATED ALWAYS AS (i * 2) VIRTUAL,
    CONSTRAINT hope CHECK (j > 100) NOT ENFORCED);
INSERT INTO t SELECT g, nullif(g % 10, 0) FROM generate_series(1, 1000) g;
ALTER TABLE t ADD CONSTRAINT later NOT NULL j NOT VALID;
CREATE TABLE stay (room int, during daterange, PRIMARY KEY (room, during WITHOUT OVERLAPS));
CREATE TABLE breakfast (room int, during daterange, FOREIGN KEY (room, PERIOD during) REFERENCES stay (room, PERIOD during));
INSERT INTO stay VALUES (1, '[2026-01-01,2026-02-01)'), (1, '[2026-02-01,2026-03-01)');
INSERT INTO breakfast VALUES (1, '[2026-01-20,2026-02-10)');
CREATE STATISTICS s ON i, j FROM t;
ANALYZE;
CREATE DOMAIN d AS int CONSTRAINT never_null NOT NULL;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON LARGE OBJECTS TO n18_a;
SELECT lo_from_bytea(1, 'x');
