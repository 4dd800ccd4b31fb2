package retention

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
)

var update = flag.Bool("update", false, "write the golden files anew")

// line makes one backup from "sequence health [key=value]".
func parse(t *testing.T, text string) []catalog.Backup {
	t.Helper()
	start := time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC)
	var all []catalog.Backup
	for _, l := range strings.Split(strings.TrimSpace(text), "\n") {
		f := strings.Fields(l)
		b := catalog.Backup{Health: catalog.Health(f[1])}
		if _, err := fmt.Sscan(f[0], &b.Sequence); err != nil {
			t.Fatal(err)
		}
		b.ID = "backup-" + f[0]
		b.Manifest = catalog.Manifest{Engine: "pg_dump", Set: "all", RecoveryPoint: start.AddDate(0, 0, int(b.Sequence))}
		for _, kv := range f[2:] {
			k, v, _ := strings.Cut(kv, "=")
			switch k {
			case "set":
				b.Manifest.Set = v
			case "engine":
				b.Manifest.Engine = v
			case "lost":
				b.Manifest = catalog.Manifest{}
			case "label":
				b.Manifest.External = &catalog.External{Label: v}
			case "prior":
				b.Manifest.External.Prior = v
			case "day":
				var d int
				fmt.Sscan(v, &d)
				b.Manifest.RecoveryPoint = start.AddDate(0, 0, d)
			}
		}
		all = append(all, b)
	}
	return all
}

func many(from, to int, health string) string {
	var b strings.Builder
	for i := from; i >= to; i-- {
		fmt.Fprintf(&b, "%d %s\n", i, health)
	}
	return b.String()
}

func TestPlan(t *testing.T) {
	for name, tc := range map[string]struct {
		policy Policy
		list   string
	}{
		"seven newest":                      {Policy{Keep: 7}, many(10, 1, "verified")},
		"the newest verified stays":         {Policy{Keep: 2}, many(6, 3, "unverified") + many(2, 1, "verified")},
		"damaged ones do not count":         {Policy{Keep: 2}, "6 damaged\n5 damaged\n4 unverified\n3 damaged\n2 unverified\n1 damaged\n"},
		"failures alone delete nothing":     {Policy{Keep: 2}, many(9, 3, "damaged") + many(2, 1, "verified")},
		"a suspect one pauses":              {Policy{Keep: 1}, "4 suspect\n3 verified\n2 verified\n1 damaged\n"},
		"a suspect of another set does not": {Policy{Keep: 1}, "4 suspect set=other\n3 verified\n2 verified\n"},
		"sets are kept apart":               {Policy{Keep: 1}, "4 verified set=a\n3 verified set=b\n2 verified set=a\n1 verified set=b\n"},
		"engines are kept apart": {Policy{Keep: 1}, "4 verified\n3 verified engine=pgbackrest label=F1\n2 verified\n1 " +
			"verified engine=pgbackrest label=F0\n"},
		"incremental backups keep what they are": {Policy{Keep: 1}, "4 verified engine=pgbackrest label=I2 prior=I1\n3 verified " +
			"engine=pgbackrest label=I1 prior=F\n2 verified engine=pgbackrest label=F\n1 verified engine=pgbackrest label=E\n"},
		"a lost manifest goes with age": {Policy{Keep: 2}, "4 verified\n3 damaged lost\n2 verified\n1 damaged lost\n"},
		"daily weekly monthly":          {Policy{Keep: 1, Daily: 3, Weekly: 2, Monthly: 2}, many(45, 1, "verified")},
		"the clock was set back":        {Policy{Keep: 2}, "4 verified day=1\n3 verified day=30\n2 verified day=29\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			for _, d := range Plan(parse(t, tc.list), tc.policy, catalog.Servers{}) {
				verb := "keep  "
				if !d.Keep {
					verb = "delete"
				}
				fmt.Fprintf(&b, "%s %-9s %-10s %s\n", verb, d.ID, d.Backup.Health, strings.Join(d.Reasons, "; "))
			}
			path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "_")+".golden")
			if *update {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if b.String() != string(want) {
				t.Errorf("got\n%swant\n%s", b.String(), want)
			}
		})
	}
}

// TestTheRulesHoldForEveryCatalogue goes through all short catalogues.
func TestTheRulesHoldForEveryCatalogue(t *testing.T) {
	healths := catalog.Healths()
	const length = 6
	for n := range 1 << (2 * length) {
		var text strings.Builder
		for i := range length {
			fmt.Fprintf(&text, "%d %s\n", length-i, healths[n>>(2*i)&3])
		}
		all := parse(t, text.String())
		for keep := 1; keep <= 3; keep++ {
			good, keptGood, newestVerified, suspect, deleted := 0, 0, "", false, 0
			verifiedKept := true
			for _, d := range Plan(all, Policy{Keep: keep}, catalog.Servers{}) {
				suspect = suspect || d.Backup.Health == catalog.IsSuspect
				if !d.Keep {
					deleted++
				}
				if !d.Backup.Health.Good() {
					continue
				}
				good++
				if d.Keep {
					keptGood++
				}
				if d.Backup.Health == catalog.Verified && newestVerified == "" {
					newestVerified, verifiedKept = d.ID, d.Keep
				}
				if len(d.Reasons) == 0 {
					t.Fatalf("%s has no reason\n%s", d.ID, text.String())
				}
			}
			if keptGood < min(keep, good) || !verifiedKept || suspect && deleted > 0 || good < keep && deleted > 0 {
				t.Fatalf("keep %d: %d of %d good ones kept, newest verified kept: %t, %d deleted\n%s", keep, keptGood, good, verifiedKept, deleted,
					text.String())
			}
		}
	}
}
