-- Things of a user in the database postgres.
CREATE TABLE public.c37_ledger (i int);
INSERT INTO public.c37_ledger SELECT generate_series(1, 20);
CREATE TYPE public.c37_state AS ENUM ('on', 'off');
COMMENT ON DATABASE postgres IS 'used by a user';
ALTER DATABASE postgres SET work_mem = '5MB';
