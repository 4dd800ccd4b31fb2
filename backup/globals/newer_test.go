package globals_test

import (
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/globals"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestRolesGoToANewerServer: with all they have, but for settings that it does not know.
func TestRolesGoToANewerServer(t *testing.T) {
	pgtest.EachVersion(t, pgtest.Options{NoMonitorRole: true}, func(t *testing.T, a *pgtest.Cluster) {
		all := pgtest.Installed()
		newest := all[len(all)-1]
		for _, i := range all {
			if i.Major > newest.Major {
				newest = i
			}
		}
		fill(t, a)
		g, err := globals.Read(t.Context(), connect(t, a, "postgres"), nil)
		if err != nil {
			t.Fatal(err)
		}
		b := pgtest.New(t, pgtest.Options{NoMonitorRole: true, Install: newest})
		notes, err := g.Restore(t.Context(), connect(t, b, "postgres"), globals.Options{WholeServer: true})
		if err != nil {
			t.Fatalf("from %d to %d: %v", a.Install.Major, newest.Major, err)
		}
		for _, n := range notes {
			if a.Install.Major >= 14 || !strings.HasPrefix(n, `setting "`) || !strings.Contains(n, "invalid configuration parameter name") {
				t.Errorf("from %d to %d: %s", a.Install.Major, newest.Major, n)
			}
		}
		want, got := state(t, a), state(t, b)
		for k, v := range want {
			switch what, _, _ := strings.Cut(k, " "); what {
			case "role", "comment":
				if got[k] != v {
					t.Errorf("%s: was %s, is %s", k, v, got[k])
				}
			case "membership":
				if a.Install.Major < 16 && newest.Major >= 16 { // nobody but a superuser is a grantor there
					k = k[:strings.LastIndex(k, " | ")] + " | postgres"
				}
				if _, ok := got[k]; !ok {
					t.Errorf("%s is lost", k)
				}
			}
		}
	})
}
