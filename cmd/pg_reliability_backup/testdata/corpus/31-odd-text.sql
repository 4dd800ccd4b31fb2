-- Rows that look like the end of COPY data, with every control character, and very long ones.
CREATE DATABASE c31;
\connect c31
CREATE TABLE t (k int, v text);
INSERT INTO t VALUES (1, E'\\.'), (2, E'\\.\n'), (3, E'\\N'), (4, ''), (5, NULL), (6, E'a\tb\nc\rd\be\ff\vg'), (7, '\'), (8, repeat('é', 300000));
INSERT INTO t SELECT 100 + i, chr(i) FROM generate_series(1, 255) i;
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE dropped_columns (a int, b int, c int);
INSERT INTO dropped_columns VALUES (1, 2, 3);
ALTER TABLE dropped_columns DROP COLUMN b;
