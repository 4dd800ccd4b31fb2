package job_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/cage"
	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
)

// escape tries to get out of the rehearsal, as a program that a function in the backup starts, and says what it could do. The first
// word says that it ran at all.
const escape = `#!/bin/sh
echo ran
echo x > "$PWD/inside" && echo wrote-inside
cat @SECRET@ >/dev/null 2>&1 && echo read-a-secret
cat @REPO@/pg_reliability_backup.json >/dev/null 2>&1 && echo read-the-repository
ls @REPO@ >/dev/null 2>&1 && echo listed-the-repository
(echo x > @REPO@/evil) 2>/dev/null && echo wrote-into-the-repository
(echo x >> @SECRET@) 2>/dev/null && echo changed-a-file
rm -f @SECRET@ 2>/dev/null; [ ! -e @SECRET@ ] && echo deleted-a-file
(echo x > /tmp/evil-@JOB@) 2>/dev/null && echo wrote-into-tmp
(echo x > /dev/shm/evil-@JOB@) 2>/dev/null && echo wrote-into-shared-memory
rm -rf @REPO@/backups 2>/dev/null && [ ! -e @REPO@/backups ] && echo deleted-the-repository
env | grep -q hunter2 && echo printed-the-environment
cat /proc/@JOB@/environ 2>/dev/null | grep -q hunter2 && echo read-the-job
kill -0 @JOB@ 2>/dev/null && echo signalled-the-job
bash -c 'exec 3<>/dev/tcp/127.0.0.1/@PORT@' 2>/dev/null && echo connected-to-loopback
bash -c 'exec 3<>/dev/udp/127.0.0.1/@PORT@ && echo x >&3' 2>/dev/null && echo sent-to-loopback
PGCONNECT_TIMEOUT=5 @PSQL@ -h @SOCKET@ -p @PG@ -U postgres -d postgres -c 'select 1' >/dev/null 2>&1 && echo connected-to-production
exit 0
`

// TestNothingGetsOutOfTheRehearsal: a function in the dumped data runs as the throwaway server's superuser, so with all that its
// process may do.
func TestNothingGetsOutOfTheRehearsal(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
	b := newBench(t)
	ctx := context.Background()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	// Files that everybody may read and write: what is kept from the program is kept by the cage, and not by its user.
	open, err := os.MkdirTemp("/tmp", "cage-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(open)
	secret := filepath.Join(open, "secret")
	if err := errors.Join(os.Chmod(open, 0o777), os.WriteFile(secret, []byte("hunter2"), 0o666), os.Chmod(secret, 0o666)); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	script := strings.NewReplacer(
		"@SECRET@", secret, "@REPO@", b.repo.Dir(), "@JOB@", fmt.Sprint(os.Getpid()), "@PORT@", port, "@PSQL@", b.pg.Install.Bin("psql"),
		"@SOCKET@", b.pg.Dir, "@PG@", fmt.Sprint(b.pg.Port)).Replace(escape)
	// The condition is looked at when the rows are loaded; on the server that is backed up it does nothing.
	err = b.pg.ExecIn(ctx, "shop",
		`CREATE FUNCTION public.escape() RETURNS boolean LANGUAGE plpgsql AS $f$
		 DECLARE said text;
		 BEGIN
		   IF current_setting('cluster_name') <> 'pg_reliability_scratch' THEN RETURN true; END IF;
		   EXECUTE 'CREATE TEMP TABLE said (line text)';
		   EXECUTE 'COPY said FROM PROGRAM ' || quote_literal($sh$`+script+`$sh$);
		   EXECUTE 'SELECT string_agg(line, '' '') FROM pg_temp.said' INTO said;
		   RAISE EXCEPTION 'this program said: %', said;
		 END $f$`,
		`CREATE TABLE hostile (i int CHECK (public.escape()))`, `INSERT INTO hostile VALUES (1)`)
	if err != nil {
		t.Fatal(err)
	}
	b.job.Verify = true
	_, err = b.job.Run(ctx)
	if err == nil {
		t.Fatal("the function did not run")
	}
	_, said, ok := strings.Cut(err.Error(), "this program said: ")
	if said, _, _ = strings.Cut(said, ";"); !ok {
		t.Fatalf("the function did not run: %v", err)
	}
	allowed := map[string]bool{"ran": true, "wrote-inside": true}
	if missing := cage.Missing(); len(missing) > 0 {
		t.Logf("this machine can't check everything: %q", missing)
		if strings.Contains(fmt.Sprint(missing), "no Landlock") {
			for _, word := range []string{"read-a-secret", "read-the-repository", "listed-the-repository", "wrote-into-tmp",
				"wrote-into-shared-memory"} {
				allowed[word] = true
			}
		}
	}
	t.Logf("it said: %s", said)
	words := strings.Fields(said)
	if len(words) == 0 || words[0] != "ran" || !strings.Contains(said, "wrote-inside") {
		t.Errorf("the program did not run as it should: %s", said)
	}
	for _, word := range words {
		if !allowed[word] {
			t.Errorf("the rehearsal is no cage: %s (all: %s)", word, said)
		}
	}
	if list, err := b.repo.List(); err != nil || len(list) != 1 || list[0].Health == catalog.Damaged && list[0].Manifest.Rows() == 0 {
		t.Errorf("the repository has %d backups, %v", len(list), err)
	}
}
