-- A partitioned table, a child of which lives on a server that can't be reached: ANALYZE fails there.
CREATE DATABASE c04;
\connect c04
CREATE EXTENSION postgres_fdw;
CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1');
CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (user 'u', password 'p');
CREATE TABLE p (i int) PARTITION BY RANGE (i);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (10);
CREATE FOREIGN TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20) SERVER far;
INSERT INTO p SELECT generate_series(1, 9);
