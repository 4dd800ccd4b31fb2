-- A database whose name needs quoting everywhere.
CREATE DATABASE "c11 Ünï ""q"" 'a' = % / \ $(id) `id`; --";
\connect -reuse-previous=on "dbname='c11 Ünï ""q"" \'a\' = % / \\ $(id) `id`; --'"
CREATE TABLE "T ""x""; DROP" ("a b" int, "c;d" text);
INSERT INTO "T ""x""; DROP" VALUES (1, 'x');
