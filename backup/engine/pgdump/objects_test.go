package pgdump_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// oneOfEach makes one object, or a few, of every kind that is counted.
func oneOfEach(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../contents/testdata/one_of_each.sql")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")[1:]
}

// TestEveryKindOfObjectComesBackAndIsCounted: what is counted on the server is what a restore of a good backup has.
func TestEveryKindOfObjectComesBackAndIsCounted(t *testing.T) {
	pgtest.EachVersion(t, pgtest.Options{NoMonitorRole: true}, func(t *testing.T, pg *pgtest.Cluster) {
		makeRole(t, pg)
		exec(t, pg, "postgres", `CREATE ROLE app`, `CREATE DATABASE shop`)
		exec(t, pg, "shop", oneOfEach(t)...)
		b := newBench(t, pg, pgtest.Superuser)
		b.job.Verify = true
		got := b.run("")
		db, _ := got.Manifest.Database("shop")
		t.Logf("%v", db.Contents.Objects)
		if got.Health != catalog.Verified {
			t.Errorf("%s: %s", got.Health, got.Problem)
		}

		// A restore that lost one is noticed, of each kind.
		for kind := range db.Contents.Objects {
			less := db.Contents
			less.Objects = map[string]int64{}
			for k, n := range db.Contents.Objects {
				less.Objects[k] = n
			}
			less.Objects[kind]--
			if kind == "functions" { // routines, as manifests of before counted them
				continue
			}
			if d := contents.Compare(db.Contents, less); len(d) != 1 {
				t.Errorf("without one of the %s: %v", kind, d)
			}
			// A manifest of before did not count most of them.
			old := db.Contents
			old.Kinds, old.Objects = 0, map[string]int64{}
			firsts := []string{"views", "materialized_views", "partitioned_tables", "foreign_tables", "functions", "triggers", "policies",
				"large_objects"}
			for _, k := range firsts {
				old.Objects[k] = db.Contents.Objects[k]
			}
			if d := contents.Compare(old, less); (len(d) == 1) != slices.Contains(firsts, kind) {
				t.Errorf("an old manifest, without one of the %s: %v", kind, d)
			}
		}
		if db, _ := got.Manifest.Database("postgres"); !db.Contents.Empty() {
			t.Errorf("a new database holds %+v", db.Contents)
		}
	})
}
