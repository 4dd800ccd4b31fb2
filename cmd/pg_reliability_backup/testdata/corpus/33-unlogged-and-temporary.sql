-- Unlogged tables and sequences, and a table with storage parameters for its TOAST table.
CREATE DATABASE c33;
\connect c33
CREATE UNLOGGED TABLE u (id serial, v text);
INSERT INTO u (v) SELECT md5(i::text) FROM generate_series(1, 100) i;
CREATE TABLE toasted (v text) WITH (toast.autovacuum_enabled = false, toast_tuple_target = 200);
ALTER TABLE toasted ALTER v SET STORAGE EXTERNAL;
INSERT INTO toasted SELECT repeat(md5(i::text), 200) FROM generate_series(1, 20) i;
