-- A WIN1252 database with a euro sign in a name.
CREATE DATABASE c08 ENCODING 'WIN1252' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\connect c08
SET client_encoding = 'UTF8';
CREATE TABLE "preis €" ("betrag €" numeric);
INSERT INTO "preis €" VALUES (1.50), (2.75);
CREATE SEQUENCE "zähler";
SELECT nextval('"zähler"');
