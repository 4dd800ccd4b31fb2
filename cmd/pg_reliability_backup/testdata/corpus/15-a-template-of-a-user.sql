-- A template database that a user made.
CREATE DATABASE c15 IS_TEMPLATE true;
\connect c15
CREATE TABLE t (i int);
INSERT INTO t VALUES (1);
