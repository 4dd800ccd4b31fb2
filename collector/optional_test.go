package collector_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

// Managed services take functions from everybody. Each one less costs the values that need it, and no others, on a primary and on
// its standby.
func TestADeniedFunctionCostsItsOwnColumnsAlone(t *testing.T) {
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		ctx := t.Context()
		standby, err := c.Standby(ctx)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = standby.Close() })
		if err := c.Exec(ctx, "SELECT pg_create_physical_replication_slot('kept', true)", "CREATE TABLE t AS SELECT 1 AS v"); err != nil {
			t.Fatal(err)
		}
		defs, err := collector.Embedded()
		if err != nil {
			t.Fatal(err)
		}
		users := map[string][]string{} // function to the collectors that can do without it
		var used []collector.Definition
		for _, d := range defs {
			for _, q := range d.Queries {
				for _, o := range q.Optional {
					if !slices.Contains(users[o.Function], d.Name) {
						users[o.Function] = append(users[o.Function], d.Name)
					}
				}
			}
			if slices.ContainsFunc(d.Queries, func(q collector.Query) bool { return len(q.Optional) > 0 }) {
				used = append(used, d)
			}
		}
		for _, server := range []struct {
			cluster *pgtest.Cluster
			role    probe.Role
		}{{c, probe.Primary}, {standby, probe.Standby}} {
			t.Run(string(server.role), func(t *testing.T) {
				whole := familiesOf(t, server.cluster, server.role, used, nil)
				for _, function := range slices.Sorted(maps.Keys(users)) {
					t.Run(function, func(t *testing.T) {
						// The roles that pg_monitor is a member of have some of these by a grant of their own.
						const from = " FROM PUBLIC, pg_monitor, pg_read_all_stats"
						if err := c.Exec(ctx, "REVOKE EXECUTE ON FUNCTION "+function+from); err != nil {
							t.Fatal(err)
						}
						defer func() {
							if err := c.Exec(context.Background(), "GRANT EXECUTE ON FUNCTION "+function+" TO PUBLIC"); err != nil {
								t.Error(err)
							}
						}()
						pgtest.Eventually(t, 20*time.Second, func() error { // the standby replays it
							got, err := server.cluster.Query(ctx, "postgres",
								fmt.Sprintf("SELECT has_function_privilege('%s', '%s', 'EXECUTE')", pgtest.Monitor, function))
							if err == nil && got != "false" {
								err = errors.New("still allowed")
							}
							return err
						})
						able := slices.DeleteFunc(slices.Clone(used), func(d collector.Definition) bool { return d.Name == whatItIsAbout[function] })
						left := familiesOf(t, server.cluster, server.role, able, users[function])
						var lost []string
						for name, by := range whole {
							if _, ok := left[name]; !ok {
								lost = append(lost, name)
								if !slices.Contains(users[function], by) && by != whatItIsAbout[function] {
									t.Errorf("%s of collector %s is gone", name, by)
								}
							}
						}
						slices.Sort(lost)
						t.Logf("without %s: %s", function, strings.Join(lost, " "))
						for name, by := range left {
							if _, ok := whole[name]; !ok {
								t.Errorf("%s of collector %s is there only without %s", name, by, function)
							}
						}
					})
				}
			})
		}
	})
}

// whatItIsAbout names the collector that a function is the only subject of: it fails, with the reason.
var whatItIsAbout = map[string]string{"pg_get_replication_slots()": "replication_slots", "pg_stat_get_wal_senders()": "stat_replication"}

// familiesOf gathers until each collector has run well, and returns the families with their collectors. denied are the collectors that
// must say that they do without something.
func familiesOf(t *testing.T, c *pgtest.Cluster, role probe.Role, defs []collector.Definition, denied []string) map[string]string {
	t.Helper()
	b := startDefinitions(t, c, role, defs)
	owner := map[string]string{}
	for _, d := range defs {
		for _, m := range d.Metrics {
			owner[m.Name] = d.Name
		}
	}
	var families map[string]string
	pgtest.Eventually(t, 30*time.Second, func() error {
		families = map[string]string{}
		page := b.scrape(t, 5*time.Second)
		for _, d := range defs {
			if got := page[fmt.Sprintf("pg_reliability_collector_success{collector=%q}", d.Name)]; got != 1 {
				return fmt.Errorf("collector %s does not succeed", d.Name)
			}
			says := slices.ContainsFunc(slices.Collect(maps.Keys(page)), func(name string) bool {
				return strings.HasPrefix(name, fmt.Sprintf("pg_reliability_collector_denied{collector=%q,", d.Name))
			})
			if says != slices.Contains(denied, d.Name) {
				return fmt.Errorf("collector %s says that something is denied: %v", d.Name, says)
			}
		}
		for name := range page {
			family, _, _ := strings.Cut(name, "{")
			if by, ok := owner[family]; ok && !whileWALFlows(family) {
				families[family] = by
			}
		}
		return nil
	})
	return families
}

// whileWALFlows says of a family that the server has it only after a standby has confirmed something, and not in idle times.
func whileWALFlows(family string) bool {
	return strings.HasPrefix(family, "pg_reliability_replication_client_") || family == "pg_stat_replication_pg_wal_lsn_diff"
}

// startDefinitions runs an engine with collectors that are loaded already.
func startDefinitions(t *testing.T, c *pgtest.Cluster, role probe.Role, defs []collector.Definition) *bench {
	t.Helper()
	b := start(t, c, one("none", "1h", "SELECT 1 AS v"))
	b.prober.says(postgres.OK, role)
	b.engine.SetDefinitions(defs)
	return b
}

func TestAnOptionalFunctionMustBeInTheQuery(t *testing.T) {
	dir := t.TempDir()
	text := `
- name: a
  help: For a test.
  refresh: live
  queries:
    - sql: SELECT pg_ls_waldir() AS v
      optional:
        - {function: pg_ls_logdir(), otherwise: "NULL"}
        - {function: pg_ls_waldir, otherwise: "NULL"}
        - {function: pg_ls_waldir()}
  metrics:
    - {name: test_a, column: v, type: gauge, help: For a test.}
- name: b
  help: For a test.
  refresh: live
  scope: database
  queries:
    - sql: SELECT 1 AS v
  metrics:
    - {name: test_b, column: v, type: gauge, help: For a test.}
`
	if err := os.WriteFile(filepath.Join(dir, "a.yml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := collector.Load(dir)
	for _, want := range []string{
		`a.yml:8: "pg_ls_logdir()" is not in the query. HINT: Say with "text: "`,
		`a.yml:9: "pg_ls_waldir" is not a function with the types of its arguments. HINT: Write it such as`,
		`a.yml:10: no otherwise. HINT: Say what stands in the query`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
}

// Nothing promises what is not done: a user's own collector can't be run once in each database yet.
func TestScopeDatabaseIsRefusedForOwnCollectors(t *testing.T) {
	dir := t.TempDir()
	text := strings.Replace(one("b", "live", "SELECT 1 AS v"), "scope: cluster", "scope: database", 1)
	if err := os.WriteFile(filepath.Join(dir, "b.yml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := collector.Load(dir); err == nil || !strings.Contains(err.Error(), "b.yml:2: collector b has scope: database") {
		t.Errorf("err = %v", err)
	}
}
