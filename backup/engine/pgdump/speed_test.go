package pgdump_test

import (
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgdump"
)

// TestTimeBesidePgDump measures runs and plain pg_dump in turn, with the same compression, on many tables and on many rows. It
// takes minutes: PG_RELIABILITY_LONG=1.
func TestTimeBesidePgDump(t *testing.T) {
	if os.Getenv("PG_RELIABILITY_LONG") != "1" {
		t.Skip("PG_RELIABILITY_LONG=1 runs it")
	}
	for name, tc := range map[string]struct {
		rounds int
		// most is the median run's time, as a factor of the median pg_dump's.
		most  float64
		level int
		fill  func(do func(...string))
	}{
		"5000 tables": {5, 1.5, 6, func(do func(...string)) {
			for from := 0; from < 5000; from += 1000 {
				do(fmt.Sprintf(`DO $$ BEGIN FOR k IN %d..%d LOOP EXECUTE format('CREATE TABLE t%%s (i int PRIMARY KEY)', k); END LOOP; END $$`, from,
					from+999))
			}
		}},
		"2 GB": {3, 1.10, 6, func(do func(...string)) {
			do(`CREATE TABLE a (aid int, bid int, abalance int, filler char(84))`,
				`INSERT INTO a SELECT g, g % 100, 0, '' FROM generate_series(1, 15000000) g`, `ALTER TABLE a ADD PRIMARY KEY (aid)`, `VACUUM ANALYZE a`)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			pg := newServer(t, `CREATE DATABASE big`)
			tc.fill(func(sql ...string) { exec(t, pg, "big", sql...) })
			b := newBench(t, pg, backupRole)
			b.job.Engine.(*pgdump.Engine).Compress = &tc.level
			b.job.Policy.Keep = 1
			var plain, ours []time.Duration
			for range tc.rounds {
				began := time.Now()
				out := filepath.Join(t.TempDir(), "plain.dump")
				cmd := osexec.Command(pg.Install.Bin("pg_dump"), "--format=custom", fmt.Sprintf("--compress=%d", tc.level), "--file="+out, "--dbname="+
					pg.DSN(backupRole, "big"))
				if text, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, text)
				}
				plain = append(plain, time.Since(began))
				_ = os.Remove(out)
				began = time.Now()
				b.run("")
				ours = append(ours, time.Since(began))
			}
			slices.Sort(plain)
			slices.Sort(ours)
			p, o := plain[tc.rounds/2], ours[tc.rounds/2]
			t.Logf("pg_dump %s, run %s (medians of %d): factor %.2f; all: %v %v", p, o, tc.rounds, o.Seconds()/p.Seconds(), plain, ours)
			if o.Seconds() > tc.most*p.Seconds() {
				t.Errorf("a run takes %.2f times as long as pg_dump, at most %.2f", o.Seconds()/p.Seconds(), tc.most)
			}
		})
	}
}
