-- A table, an index and a database in a tablespace that the next server does not have.
CREATE TABLESPACE c36_ssd LOCATION :'tablespace';
CREATE DATABASE c36 TABLESPACE c36_ssd;
CREATE DATABASE c36_mixed;
\connect c36
CREATE TABLE t (i int);
INSERT INTO t VALUES (1);
\connect c36_mixed
CREATE TABLE t (i int) TABLESPACE c36_ssd;
CREATE INDEX ON t (i) TABLESPACE c36_ssd;
INSERT INTO t SELECT generate_series(1, 10);
