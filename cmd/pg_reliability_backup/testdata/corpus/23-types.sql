-- Enums, domains with checks, composites in composites, ranges, casts, operators, aggregates, a base type's array.
CREATE DATABASE c23;
\connect c23
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy "x"');
CREATE DOMAIN posint AS int CHECK (VALUE > 0) NOT NULL DEFAULT 1;
CREATE TYPE inner_t AS (a posint, m mood[]);
CREATE TYPE outer_t AS (i inner_t, t text);
CREATE TYPE span AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE TABLE t (m mood, p posint, o outer_t, r span, arr int[][], j jsonb, x xml, u uuid, i inet, b bit varying(7), tq tsquery, tv tsvector);
INSERT INTO t VALUES ('happy "x"', 3, ROW(ROW(1, ARRAY['sad', 'it''s ok']::mood[]), E'a\tb\\n'), '[1.5,2.5)', '{{1,2},{3,NULL}}', '{"k": [null, "é"]}',
    '<a>b</a>', '00000000-0000-0000-0000-000000000001', '::1/64', B'1010', 'a & !b', 'cat:1A dog');
CREATE FUNCTION mood_rank(mood) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT length($1::text)';
CREATE CAST (mood AS int) WITH FUNCTION mood_rank(mood) AS ASSIGNMENT;
CREATE FUNCTION same_mood(mood, mood) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 = $2';
CREATE OPERATOR === (LEFTARG = mood, RIGHTARG = mood, FUNCTION = same_mood, COMMUTATOR = ===);
CREATE AGGREGATE longest(text) (SFUNC = textcat, STYPE = text, INITCOND = '');
CREATE TEXT SEARCH CONFIGURATION mine (COPY = simple);
CREATE TEXT SEARCH DICTIONARY dict (TEMPLATE = simple, STOPWORDS = english);
CREATE COLLATION c_copy FROM "C";
