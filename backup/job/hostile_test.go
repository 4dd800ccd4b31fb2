package job_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// hostile is what login roles can set for themselves, and what an administrator may name and say of roles, that once ran as
// SQL or as a command of the shell, or kept a verified backup from coming back. Each touches a file when it runs.
func hostile(t *testing.T, pg *pgtest.Cluster) (touched func() []string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "hostile-") // short, for it stands in a name of 63 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil { // whoever runs it may
		t.Fatal(err)
	}
	conn, err := pg.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	as := func(role string, statements ...string) {
		for _, s := range append(append([]string{"SET SESSION AUTHORIZATION " + role}, statements...), "RESET ALL",
			"RESET SESSION AUTHORIZATION") {
			if _, err := conn.Exec(t.Context(), s); err != nil {
				t.Fatalf("as %s: %s: %v", role, s, err)
			}
		}
	}
	as("postgres", `CREATE ROLE mallory LOGIN`)
	as("mallory",
		`ALTER ROLE mallory SET application_name = E'x\n; ALTER ROLE mallory SUPERUSER; --'`,
		`SELECT set_config('search_path', $$a;copy/**/(select/**/1)/**/to/**/program'touch/**/`+dir+
			`/path';create/**/role/**/pwned/**/superuser;--$$, false)`,
		`ALTER ROLE mallory IN DATABASE shop SET search_path FROM CURRENT`,
		`ALTER ROLE mallory SET search_path FROM CURRENT`,
		`SELECT set_config('local_preload_libraries', $$x'; CREATE ROLE pwned SUPERUSER; --$$, false)`,
		`ALTER ROLE mallory IN DATABASE shop SET local_preload_libraries FROM CURRENT`,
	)
	as("postgres",
		`ALTER ROLE mallory SET app.shell = E'x\n\\! touch `+dir+`/shell\n'`,
		fmt.Sprintf(`CREATE ROLE %q`, "\nCOPY (SELECT 1) TO PROGRAM 'touch "+dir+"/n';--"),
		`COMMENT ON ROLE app IS E'first line\nsecond line'`,
		`COMMENT ON ROLE postgres IS E'first line\n\\! touch `+dir+`/comment'`,
		`ALTER DATABASE shop SET app.text = E'x\n; CREATE ROLE pwned SUPERUSER'`,
		`ALTER SYSTEM SET quote_all_identifiers = on`,
		`SELECT pg_reload_conf()`,
	)
	return func() (names []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
}

// roles is everything about them that a restore onto the same server must leave as it was.
const roles = `SELECT string_agg(x, E'\n' ORDER BY x) FROM (
	SELECT to_jsonb(a)::text FROM pg_authid a UNION ALL SELECT to_jsonb(m)::text FROM pg_auth_members m
	UNION ALL SELECT setconfig::text FROM pg_db_role_setting WHERE setdatabase = 0 UNION ALL SELECT description FROM pg_shdescription WHERE classoid = 'pg_authid'::regclass) AS s (x)`

func TestNothingThatARoleSaysOfItselfIsExecuted(t *testing.T) {
	b := newBench(t)
	touched := hostile(t, b.pg)
	before := query(t, b.pg, "postgres", roles)
	b.job.Verify = true
	backup := b.run(t)
	if backup.Health != catalog.Verified {
		t.Errorf("the backup is %s: %s", backup.Health, backup.Problem)
	}
	for file, want := range map[string]bool{"manifest.json": false, "globals/passwords.json": true} {
		text, err := os.ReadFile(filepath.Join(backup.Dir, file))
		if err != nil || strings.Contains(string(text), "SCRAM-SHA-256") != want {
			t.Errorf("%s holds passwords: %t, %v, want %t", file, !want, err, want)
		}
	}
	again := func(name string, backup catalog.Backup) {
		if _, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: backup, Database: "shop"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if after := query(t, b.pg, "postgres", roles); after != before {
			t.Errorf("%s: the roles were\n%s\nand are\n%s", name, before, after)
		}
		path := query(t, b.pg, "postgres", `SELECT setconfig::text FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
			WHERE datname = 'shop' AND setrole = 'mallory'::regrole`)
		if !strings.Contains(path, "create/**/role") {
			t.Errorf("%s: mallory's search_path is %s", name, path)
		}
	}
	// On a server that has none of the roles they come as they were, and no more of them.
	anew := func(name string) {
		fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
		if _, err := b.restorer(t, fresh).Bootstrap(t.Context(), restore.BootstrapOptions{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		const names = `SELECT string_agg(concat(quote_literal(rolname), rolsuper, rolcanlogin, rolpassword), ' ' ORDER BY rolname) FROM pg_authid`
		if want, got := query(t, b.pg, "postgres", names), query(t, fresh, "postgres", names); got != want {
			t.Errorf("%s: roles on a new server: %s, want %s", name, got, want)
		}
	}
	again("format 2", backup)
	anew("format 2")
	backup = asFormat1(t, b.repo, backup)
	again("format 1", backup)
	anew("format 1")
	if ran := touched(); len(ran) > 0 {
		t.Errorf("what ran: %q", ran)
	}
}

// asFormat1 makes a backup what this program's first version would have written.
func asFormat1(t *testing.T, repo *catalog.Repository, b catalog.Backup) catalog.Backup {
	t.Helper()
	path := filepath.Join(b.Dir, "manifest.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	old := sha256.Sum256(text)
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	m["format"] = 1
	g := m["globals"].(map[string]any)
	delete(g, "objects")
	delete(g, "passwords_file")
	if text, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	sums := filepath.Join(b.Dir, "SHA256SUMS")
	list, err := os.ReadFile(sums)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	list = []byte(strings.Replace(string(list), hex.EncodeToString(old[:]), hex.EncodeToString(sum[:]), 1))
	written := map[string][]byte{path: text, sums: list}
	status := filepath.Join(b.Dir, "status.json")
	if said, err := os.ReadFile(status); err == nil { // there is none before something was verified
		var st map[string]any
		if err := json.Unmarshal(said, &st); err != nil {
			t.Fatal(err)
		}
		delete(st, "of") // it named no manifest at that time
		if written[status], err = json.Marshal(st); err != nil {
			t.Fatal(err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for name, content := range written {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err = repo.Get(b.ID)
	if err != nil || b.Manifest.Format != 1 || b.Manifest.Globals.Objects != nil {
		t.Fatalf("format %d, %v", b.Manifest.Format, err)
	}
	return b
}

func TestTablespacesAreComparedByName(t *testing.T) {
	b := newBench(t)
	location := func(pg *pgtest.Cluster, name string) string {
		dir := filepath.Join(pg.Dir, name)
		if err := pgtest.Command("mkdir", dir).Run(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	if err := b.pg.Exec(t.Context(), `CREATE TABLESPACE "S;S'D" LOCATION '`+location(b.pg, "ssd")+`'`); err != nil {
		t.Fatal(err)
	}
	if err := b.pg.ExecIn(t.Context(), "shop", `CREATE TABLE big (i int) TABLESPACE "S;S'D"`); err != nil {
		t.Fatal(err)
	}
	backup := b.run(t)
	for name, backup := range map[string]catalog.Backup{"format 2": backup, "format 1": asFormat1(t, b.repo, backup)} {
		other := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
		if err := other.Exec(t.Context(), "CREATE TABLESPACE other LOCATION '"+location(other, "other")+"'"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.restorer(t, other).Restore(t.Context(), restore.Options{Backup: backup, Database: "shop"}); err != nil {
			t.Errorf("%s: with another tablespace: %v", name, err)
		}
		if _, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: backup, Database: "shop", As: "shop " + name}); err != nil {
			t.Errorf("%s: with the tablespace: %v", name, err)
		}
		const where = `SELECT t.spcname FROM pg_class c LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace WHERE relname = 'big'`
		if got := query(t, b.pg, "shop "+name, where); got != "S;S'D" {
			t.Errorf("%s: the table is in tablespace %q", name, got)
		}
	}
}
