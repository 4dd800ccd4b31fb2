//go:build linux

package compose_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/cage"
)

// escape tries to get out of the rehearsal, as a program that a function in the backup starts, and says what it could do. The first word
// says that it ran at all.
const escape = `echo ran
(echo x > inside) 2>/dev/null && echo wrote-inside
ls /run/secrets >/dev/null 2>&1 && echo listed-the-secrets
cat /run/secrets/* >/dev/null 2>&1 && echo read-a-secret
ls /backups >/dev/null 2>&1 && echo listed-the-repository
cat /backups/pg_reliability_backup.json >/dev/null 2>&1 && echo read-the-repository
(echo x > /backups/evil) 2>/dev/null && echo wrote-into-the-repository
rm -rf /backups/backups 2>/dev/null; rm -f /backups/pg_reliability_backup.json 2>/dev/null && echo deleted-of-the-repository
(echo x > /tmp/evil) 2>/dev/null && echo wrote-into-tmp
(echo x > /scratch/evil) 2>/dev/null && echo wrote-beside-the-room
(echo x > /dev/shm/evil) 2>/dev/null && echo wrote-into-shared-memory
env | grep -q PGPASSWORD && echo printed-the-environment
cat /proc/1/environ 2>/dev/null | grep -q PG && echo read-the-job
kill -0 1 2>/dev/null && echo signalled-the-job
nc -w 2 postgres 5432 </dev/null >/dev/null 2>&1 && echo connected-to-the-server
nc -w 2 exporter 9187 </dev/null >/dev/null 2>&1 && echo connected-to-the-exporter
nc -w 2 127.0.0.1 9188 </dev/null >/dev/null 2>&1 && echo connected-to-loopback
exit 0`

// caged lets a database's owner try to get out of the rehearsal in the job's container: its cage is all that is between the two. The run
// has a repository of its own, and what it must not touch is the stack's.
func caged(t *testing.T, s *stack) {
	run := func(args ...string) (string, error) {
		return s.try(append([]string{"exec", s.container("backup"), "pg_reliability_backup"}, args...)...)
	}
	before, err := run("list", "--json")
	if err != nil {
		t.Fatal(err)
	}
	s.mustSQL("CREATE DATABASE cage")
	defer func() { s.mustSQL("DROP DATABASE cage WITH (FORCE)") }()
	// The condition is looked at when the rows are loaded; on the server that is backed up it does nothing.
	if _, err := s.pipe(`
		CREATE FUNCTION public.escape() RETURNS boolean LANGUAGE plpgsql AS $f$
		DECLARE said text;
		BEGIN
		  IF current_setting('cluster_name') <> 'pg_reliability_scratch' THEN RETURN true; END IF;
		  EXECUTE 'CREATE TEMP TABLE said (line text)';
		  EXECUTE 'COPY said FROM PROGRAM ' || quote_literal($sh$`+escape+`$sh$);
		  EXECUTE 'SELECT string_agg(line, '' '') FROM pg_temp.said' INTO said;
		  RAISE EXCEPTION 'this program said: %;', said;
		END $f$;
		CREATE TABLE hostile (i int CHECK (public.escape()));
		INSERT INTO hostile VALUES (1);
		GRANT SELECT ON hostile TO PUBLIC;`,
		"exec", "-i", s.container("postgres"), "psql", "--no-psqlrc", "-U", "postgres", "-d", "cage", "-q", "-v", "ON_ERROR_STOP=1"); err != nil {
		t.Fatal(err)
	}
	s.mustSQL("GRANT CONNECT ON DATABASE cage TO reliability_backup")
	const own = "--repository=/scratch/cage-test"
	defer func() { _, _ = s.try("exec", s.container("backup"), "rm", "-rf", "/scratch/cage-test") }()
	if out, err := run("init", own); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := run("run", own, "--database=cage", "--verify", "--scratch-dir=/scratch")
	if err == nil {
		t.Fatalf("the function did not run: %s", out)
	}
	_, said, ok := strings.Cut(out+err.Error(), "this program said: ")
	if said, _, _ = strings.Cut(said, ";"); !ok {
		t.Fatalf("the function did not run: %v: %s", err, out)
	}
	t.Logf("it said: %s", said)
	allowed := []string{"ran", "wrote-inside"}
	for _, lack := range cage.Missing() { // the engine's kernel is this one
		t.Logf("this machine can't check everything: %s", lack.Why)
		if lack.Part == cage.Signals {
			allowed = append(allowed, "signalled-the-job")
		}
	}
	words := strings.Fields(said)
	if !strings.HasPrefix(said, "ran wrote-inside") {
		t.Errorf("the program did not run as it should: %s", said)
	}
	for _, word := range words {
		if !slices.Contains(allowed, word) {
			t.Errorf("the rehearsal is no cage: %s (all: %s)", word, said)
		}
	}
	if after, err := run("list", "--json"); err != nil || after != before {
		t.Errorf("the stack's backups were %.300s, and are %.300s (%v)", before, after, err)
	}
}
