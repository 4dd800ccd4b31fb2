-- 300 tables in 10 schemas with odd names.
CREATE DATABASE c39;
\connect c39
DO $$ BEGIN
  FOR s IN 1..10 LOOP
    EXECUTE format('CREATE SCHEMA %I', 's "' || s);
    FOR t IN 1..30 LOOP
      EXECUTE format('CREATE TABLE %I.%I (i int PRIMARY KEY, v text)', 's "' || s, 't.' || t || ' x');
      EXECUTE format('INSERT INTO %I.%I SELECT g, md5(g::text) FROM generate_series(1, %s) g', 's "' || s, 't.' || t || ' x', t);
    END LOOP;
  END LOOP;
END $$;
