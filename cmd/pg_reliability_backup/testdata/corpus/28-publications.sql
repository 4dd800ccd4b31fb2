-- Publications of tables, of all tables, of a schema, with filters and columns.
CREATE DATABASE c28;
\connect c28
CREATE TABLE t (i int PRIMARY KEY, v text);
CREATE TABLE u (i int PRIMARY KEY);
INSERT INTO t VALUES (1, 'x');
CREATE PUBLICATION part FOR TABLE t (i, v) WHERE (i > 0) WITH (publish = 'insert, update');
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE PUBLICATION whole_schema FOR TABLES IN SCHEMA public;
