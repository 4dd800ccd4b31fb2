-- A LATIN1 database whose names are not ASCII.
CREATE DATABASE c06_kunden ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\connect c06_kunden
SET client_encoding = 'UTF8';
CREATE TABLE "straße" (id serial PRIMARY KEY, "größe" text);
CREATE INDEX "größe_idx" ON "straße" ("größe");
INSERT INTO "straße" ("größe") VALUES ('é'), ('ß'), ('ÿ');
