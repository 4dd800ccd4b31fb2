-- Line breaks, quotes and backslashes in the names, settings and comments of roles.
CREATE ROLE c02_mallory LOGIN;
SET ROLE c02_mallory;
ALTER ROLE c02_mallory SET application_name = E'x\n; alter role c02_mallory superuser; --';
RESET ROLE;
CREATE ROLE "c02 line
break" NOLOGIN;
CREATE ROLE "c02 ""quoted"" 'apostrophe' \back" NOLOGIN;
COMMENT ON ROLE c02_mallory IS E'first line\nsecond line; DROP ROLE c02_mallory; --';
COMMENT ON ROLE "c02 line
break" IS $$it's \ "odd" $tag$ text$$;
GRANT "c02 line
break" TO c02_mallory;
GRANT pg_read_all_stats TO c02_mallory WITH ADMIN OPTION;
CREATE DATABASE c02 OWNER "c02 ""quoted"" 'apostrophe' \back";
COMMENT ON DATABASE c02 IS E'a comment\nof two lines \\ with ''quotes''';
\connect c02
CREATE TABLE t (i int);
ALTER TABLE t OWNER TO "c02 line
break";
INSERT INTO t VALUES (1);
