-- Two databases whose names are alike in their first 62 bytes.
CREATE DATABASE c10_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1;
CREATE DATABASE c10_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa2;
\connect c10_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1
CREATE TABLE one (i int);
INSERT INTO one VALUES (1);
\connect c10_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa2
CREATE TABLE two (i int);
INSERT INTO two VALUES (2), (2);
