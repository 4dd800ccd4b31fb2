-- A SQL_ASCII database that holds bytes of no encoding in its rows.
CREATE DATABASE c09 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\connect c09
SET client_encoding = 'SQL_ASCII';
CREATE TABLE t (v text);
INSERT INTO t VALUES (E'\xe9\xff'), ('plain');
