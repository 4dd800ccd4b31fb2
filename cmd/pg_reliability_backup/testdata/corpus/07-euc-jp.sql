-- An EUC_JP database: the bytes of its names are neither Latin nor UTF-8.
CREATE DATABASE c07 ENCODING 'EUC_JP' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\connect c07
SET client_encoding = 'UTF8';
CREATE TABLE "顧客" ("名前" text);
INSERT INTO "顧客" VALUES ('山田'), ('鈴木');
