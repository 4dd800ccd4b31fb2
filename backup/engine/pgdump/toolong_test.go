package pgdump_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/globals"
)

// TestNobodyFillsABackupWithWhatHeSaysOfHimself: any role sets for itself, and any owner of a database says of it, hundreds of
// megabytes. That stopped all backups of the server: the manifest was larger than what is read of one.
func TestNobodyFillsABackupWithWhatHeSaysOfHimself(t *testing.T) {
	pg := newServer(t, `CREATE DATABASE shop`, `CREATE ROLE mallory LOGIN`, `CREATE ROLE chatty LOGIN`, `ALTER DATABASE shop OWNER TO mallory`)
	exec(t, pg, "shop", `CREATE TABLE t AS SELECT generate_series(1, 10)`)
	long := func(sql string) {
		exec(t, pg, "postgres", fmt.Sprintf(`DO $x$ BEGIN EXECUTE format('%s', repeat(chr(1), 400000)); END $x$`, sql))
	}
	long(`ALTER ROLE mallory SET app.x = %L`)
	long(`ALTER ROLE mallory IN DATABASE shop SET app.y = %L`)
	long(`ALTER DATABASE shop SET app.z = %L`)
	long(`COMMENT ON ROLE mallory IS %L`)
	long(`COMMENT ON DATABASE shop IS %L`)
	exec(t, pg, "postgres",
		`ALTER ROLE mallory SET work_mem = '5MB'`, `COMMENT ON ROLE chatty IS 'talks'`,
		// Of one role the first thousand are kept, and the length of all together has a bound of its own.
		`DO $$ BEGIN FOR i IN 1..1100 LOOP EXECUTE format('ALTER ROLE chatty SET app.a%s = %L', i, i); END LOOP; END $$`,
		`DO $$ BEGIN FOR i IN 1..5 LOOP EXECUTE format('ALTER DATABASE shop SET app.b%s = %L', i, repeat('x', 40000)); END LOOP; END $$`)

	b := newBench(t, pg, backupRole)
	got := b.run("")

	if got.Health != catalog.Unverified || databases(got) != "postgres shop" {
		t.Errorf("%s (%s), holds %s", got.Health, got.Problem, databases(got))
	}
	said := " " + lacks(got, catalog.TooLong) + " "
	for _, want := range []string{
		" /setting app.x of role mallory ", " /comment of role mallory ", " shop/its comment ", " shop/setting app.z ",
		" shop/setting app.y of role mallory ", " shop/setting app.b4 ", " /setting app.a1001 of role chatty ",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not name %q", want)
		}
	}
	for _, not := range []string{"work_mem", "comment of role chatty", "app.b1 ", "app.a1000 "} {
		if strings.Contains(said, not) {
			t.Errorf("it names %q", not)
		}
	}
	for _, o := range got.Manifest.Omitted {
		if o.Kind == catalog.TooLong && (o.Remedy == "" || len(o.String()) > 1000) {
			t.Errorf("no remedy, or a long one: %s, remedy %q", o, o.Remedy)
		}
	}
	for _, file := range []string{"manifest.json", "globals/roles.sql"} {
		if fi, err := os.Stat(filepath.Join(got.Dir, file)); err != nil || fi.Size() > 1<<20 {
			t.Errorf("%s: %v, %+v", file, err, fi)
		}
	}
	conn, err := b.job.Request.Target.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	g, err := globals.Read(t.Context(), conn, nil)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, s := range g.Settings {
		if s.Role == "mallory" {
			kept = append(kept, s.Name+"="+s.Value)
		}
	}
	if strings.Join(kept, " ") != "work_mem=5MB" {
		t.Errorf("of mallory's settings are kept: %.100q", kept)
	}
}
