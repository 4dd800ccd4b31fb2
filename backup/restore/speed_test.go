package restore_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestTimeBesidePgRestore measures bootstraps of an empty server and what an administrator would do by hand, in turn: pg_restore with two
// workers, and ANALYZE. It takes minutes: PG_RELIABILITY_LONG=1.
func TestTimeBesidePgRestore(t *testing.T) {
	if os.Getenv("PG_RELIABILITY_LONG") != "1" {
		t.Skip("PG_RELIABILITY_LONG=1 runs it")
	}
	const rounds, most = 3, 1.25
	b := newServer(t, pgtest.Options{})
	b.exec(t, "postgres", `CREATE DATABASE big`)
	for i := range 4 {
		name := fmt.Sprint("a", i)
		b.exec(t, "big", `CREATE TABLE `+name+` (aid int, bid int, abalance int, filler char(84))`,
			`INSERT INTO `+name+` SELECT g, g % 100, 0, '' FROM generate_series(1, 4000000) g`, `ALTER TABLE `+name+` ADD PRIMARY KEY (aid)`)
	}
	backup := b.run(t)
	db, ok := backup.Manifest.Database("big")
	if !ok {
		t.Fatal("the backup lacks the database")
	}
	var plain, ours []time.Duration
	for range rounds {
		pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
		if err := pg.Exec(t.Context(), `CREATE DATABASE big`); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		cmd := exec.Command(pg.Install.Bin("pg_restore"), "--exit-on-error", "--jobs=2", "--dbname="+pg.DSN(pgtest.Superuser, "big"),
			filepath.Join(backup.Dir, filepath.FromSlash(db.Path)))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := pg.ExecIn(t.Context(), "big", "ANALYZE"); err != nil {
			t.Fatal(err)
		}
		plain = append(plain, time.Since(began))
		_ = pg.Close()

		pg = pgtest.New(t, pgtest.Options{NoMonitorRole: true})
		r := b.restorer(t, pg)
		r.Jobs = 2
		began = time.Now()
		if _, err := r.Bootstrap(t.Context(), restore.BootstrapOptions{}); err != nil {
			t.Fatal(err)
		}
		ours = append(ours, time.Since(began))
		_ = pg.Close()
	}
	slices.Sort(plain)
	slices.Sort(ours)
	p, o := plain[rounds/2], ours[rounds/2]
	t.Logf("pg_restore and ANALYZE %s, bootstrap %s (medians of %d): factor %.2f; all: %v %v", p, o, rounds, o.Seconds()/p.Seconds(), plain, ours)
	if o.Seconds() > most*p.Seconds() {
		t.Errorf("a bootstrap takes %.2f times as long, at most %.2f", o.Seconds()/p.Seconds(), most)
	}
}
