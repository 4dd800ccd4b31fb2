-- Foreign keys in a circle, one to its own table, deferrable ones, one that is not valid.
CREATE DATABASE c20;
\connect c20
CREATE TABLE a (id int PRIMARY KEY, b_id int);
CREATE TABLE b (id int PRIMARY KEY, a_id int REFERENCES a DEFERRABLE INITIALLY DEFERRED, boss int REFERENCES b);
ALTER TABLE a ADD FOREIGN KEY (b_id) REFERENCES b DEFERRABLE INITIALLY DEFERRED;
BEGIN;
INSERT INTO a SELECT i, i FROM generate_series(1, 100) i;
INSERT INTO b SELECT i, i, nullif(i / 2, 0) FROM generate_series(1, 100) i;
COMMIT;
CREATE TABLE child (a_id int);
INSERT INTO child VALUES (1), (999);
ALTER TABLE child ADD CONSTRAINT later FOREIGN KEY (a_id) REFERENCES a NOT VALID;
ALTER TABLE child ADD CONSTRAINT small CHECK (a_id < 10) NOT VALID;
