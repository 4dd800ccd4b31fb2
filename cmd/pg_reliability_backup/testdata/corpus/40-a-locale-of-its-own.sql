-- A database with an ICU locale, and one with a nondeterministic collation.
CREATE DATABASE c40 TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER icu ICU_LOCALE 'de-u-co-phonebk';
\connect c40
CREATE COLLATION ci (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false);
CREATE TABLE t (v text, c text COLLATE ci UNIQUE);
INSERT INTO t VALUES ('Ärger', 'a'), ('Azur', 'b'), ('Zoo', 'É');
CREATE INDEX ON t (v);
