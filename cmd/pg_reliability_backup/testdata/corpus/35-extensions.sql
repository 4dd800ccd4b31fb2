-- Extensions with types, operator classes and indexes of their own.
CREATE DATABASE c35;
\connect c35
CREATE EXTENSION pg_trgm SCHEMA public;
CREATE EXTENSION hstore;
CREATE EXTENSION citext;
CREATE TABLE t (v text, c citext, h hstore);
INSERT INTO t SELECT md5(i::text), md5(i::text)::citext, hstore('k', i::text) FROM generate_series(1, 200) i;
CREATE INDEX ON t USING gin (v gin_trgm_ops);
CREATE UNIQUE INDEX ON t (c);
