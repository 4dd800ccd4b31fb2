-- Indexes of many kinds: expression, partial, covering, descending, hash, brin, gin, gist, unique nulls not distinct, clustered.
CREATE DATABASE c26;
\connect c26
CREATE TABLE t (i int, v text, j jsonb, p point, n int);
INSERT INTO t SELECT i, md5(i::text), jsonb_build_object('k', i), point(i, i), nullif(i % 5, 0) FROM generate_series(1, 1000) i;
CREATE INDEX ON t (lower(v) text_pattern_ops) WHERE i > 10;
CREATE UNIQUE INDEX covering ON t (i DESC NULLS LAST) INCLUDE (v);
CREATE INDEX ON t USING hash (v);
CREATE INDEX ON t USING brin (i) WITH (pages_per_range = 16);
CREATE INDEX ON t USING gin (j jsonb_path_ops);
CREATE INDEX ON t USING gist (p);
CREATE UNIQUE INDEX nulls ON t (n, i) NULLS NOT DISTINCT;
ALTER TABLE t CLUSTER ON covering;
ALTER TABLE t REPLICA IDENTITY FULL;
ALTER TABLE t ALTER COLUMN v SET STORAGE EXTERNAL, ALTER COLUMN v SET STATISTICS 500, ALTER COLUMN i SET (n_distinct = -1);
ALTER TABLE t SET (fillfactor = 70, autovacuum_enabled = false);
CREATE TABLE ex (r int4range, EXCLUDE USING gist (r WITH &&) DEFERRABLE);
INSERT INTO ex VALUES ('[1,5)'), ('[5,9)');
