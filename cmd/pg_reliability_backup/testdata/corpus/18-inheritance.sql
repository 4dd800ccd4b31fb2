-- Inheritance of the old kind, with columns of several parents and rows in the parent.
CREATE DATABASE c18;
\connect c18
CREATE TABLE a (x int, y text DEFAULT 'a');
CREATE TABLE b (x int, z text NOT NULL DEFAULT 'b');
CREATE TABLE c (extra int) INHERITS (a, b);
INSERT INTO a VALUES (1), (2);
INSERT INTO b VALUES (3);
INSERT INTO c (x, extra) VALUES (4, 5);
ALTER TABLE c ALTER COLUMN y SET DEFAULT 'c';
