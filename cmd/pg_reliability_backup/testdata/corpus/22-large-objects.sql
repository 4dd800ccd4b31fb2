-- Large objects with owners, privileges and comments.
CREATE ROLE c22_owner;
CREATE DATABASE c22;
\connect c22
SELECT lo_from_bytea(1001, decode(repeat('ab', 5000), 'hex'));
SELECT lo_from_bytea(1002, '');
COMMENT ON LARGE OBJECT 1001 IS E'two\nlines';
ALTER LARGE OBJECT 1002 OWNER TO c22_owner;
GRANT SELECT ON LARGE OBJECT 1001 TO c22_owner;
GRANT SELECT, UPDATE ON LARGE OBJECT 1002 TO PUBLIC;
CREATE TABLE t (o oid);
INSERT INTO t VALUES (1001), (1002);
