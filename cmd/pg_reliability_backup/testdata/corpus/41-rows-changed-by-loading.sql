-- A trigger that would change rows if it fired while they are loaded, and a default that reads a sequence.
CREATE DATABASE c41;
\connect c41
CREATE TABLE t (i int, changed timestamptz, n bigint);
INSERT INTO t SELECT i, '2020-01-01', i FROM generate_series(1, 100) i;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.changed := now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE t ENABLE ALWAYS TRIGGER touch;
