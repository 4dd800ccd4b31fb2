-- Views on views, a recursive one, materialized ones with and without data, a view that depends on a primary key.
CREATE DATABASE c24;
\connect c24
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 300) i;
CREATE VIEW grouped AS SELECT id, v, count(*) FROM t GROUP BY id;
CREATE RECURSIVE VIEW n (i) AS VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 5;
CREATE MATERIALIZED VIEW filled AS SELECT id % 10 AS k, count(*) FROM t GROUP BY 1;
CREATE UNIQUE INDEX ON filled (k);
CREATE MATERIALIZED VIEW unfilled AS SELECT * FROM filled WITH NO DATA;
CREATE VIEW secure WITH (security_barrier, check_option = 'local') AS SELECT * FROM t WHERE id < 100;
CREATE MATERIALIZED VIEW on_top AS SELECT sum(k) FROM filled;
