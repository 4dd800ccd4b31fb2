-- Since 16: memberships with INHERIT and SET options, an ICU locale with rules, large numbers written in other bases.
CREATE ROLE n16_a; CREATE ROLE n16_b; CREATE ROLE n16_c;
GRANT n16_a TO n16_b WITH INHERIT FALSE, SET TRUE;
GRANT n16_a TO n16_c WITH ADMIN TRUE, INHERIT TRUE, SET FALSE;
CREATE DATABASE c_n16 TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en' ICU_RULES '& a < g' LOCALE 'C';
\connect c_n16
CREATE TABLE t (i int, v text STORAGE EXTERNAL);
INSERT INTO t VALUES (0x1F, 'x'), (1_000, 'g');
CREATE INDEX ON t (v);
