-- Lets pg_reliability_exporter see how far sequences have come, for PostgreSQL 13 to 19. pg_monitor does not include it.
--
-- Run it as a superuser or as the owner of the sequences, in each database, after the role
-- reliability_exporter exists:
--
--     psql --dbname=DATABASE --set=ON_ERROR_STOP=1 --file=sequences.sql
--
-- It grants SELECT on the sequences there are, and on those their owners will make: a sequence's last value can be read,
-- and neither be moved nor any table be read. It may be run again at any time: after somebody new has made
-- sequences. To undo it: REVOKE SELECT ON SEQUENCE ... FROM reliability_exporter, and
-- ALTER DEFAULT PRIVILEGES FOR ROLE ... REVOKE SELECT ON SEQUENCES FROM reliability_exporter.

DO $$
DECLARE
    s record;
    others bigint;
BEGIN
    FOR s IN
        SELECT c.oid::regclass AS name
          FROM pg_catalog.pg_sequence AS q
          JOIN pg_catalog.pg_class AS c ON c.oid = q.seqrelid
         WHERE c.relpersistence <> 't'
           AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
           AND NOT pg_catalog.has_sequence_privilege('reliability_exporter', q.seqrelid, 'SELECT')
    LOOP
        EXECUTE pg_catalog.format('GRANT SELECT ON SEQUENCE %s TO reliability_exporter', s.name);
    END LOOP;

    FOR s IN
        SELECT DISTINCT c.relowner::regrole AS owner
          FROM pg_catalog.pg_sequence AS q
          JOIN pg_catalog.pg_class AS c ON c.oid = q.seqrelid
         WHERE c.relpersistence <> 't'
           AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
    LOOP
        EXECUTE pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %s GRANT SELECT ON SEQUENCES TO reliability_exporter', s.owner);
    END LOOP;

    SELECT count(*)
      INTO others
      FROM pg_catalog.pg_sequence AS q
      JOIN pg_catalog.pg_class AS c ON c.oid = q.seqrelid
     WHERE c.relpersistence <> 't'
       AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')
       AND NOT pg_catalog.has_sequence_privilege('reliability_exporter', q.seqrelid, 'SELECT');
    IF others > 0 THEN
        RAISE WARNING '% sequences belong to others and stay as they are', others
              USING HINT = 'Run the script as a superuser, or as their owners, too.';
    END IF;
END
$$;
