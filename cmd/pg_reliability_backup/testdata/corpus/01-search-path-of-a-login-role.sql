-- A login role whose search_path, set for one database, is a text that looks like SQL.
CREATE ROLE c01_mallory LOGIN;
CREATE DATABASE c01;
SET ROLE c01_mallory;
SELECT set_config('search_path', $$a;copy/**/(select/**/1)/**/to/**/program'id';create/**/role/**/c01_pwned/**/superuser;--$$, false);
ALTER ROLE c01_mallory IN DATABASE c01 SET search_path FROM CURRENT;
RESET ROLE; RESET search_path;
ALTER ROLE c01_mallory SET search_path = '', '"', 'a b', 'Mixed', '$user', 'x,y';
ALTER DATABASE c01 SET search_path = "$user", public, 'semi;colon';
\connect c01
CREATE TABLE public.t (i int PRIMARY KEY);
INSERT INTO public.t SELECT generate_series(1, 10);
