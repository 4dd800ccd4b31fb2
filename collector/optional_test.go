package collector_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

// Managed services take functions from everybody. Each one less costs the values that need it, and no others, on a primary and on
// its standby.
func TestADeniedFunctionCostsItsOwnColumnsAlone(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		ctx := t.Context()
		standby, err := c.Standby(ctx)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = standby.Close() })
		if err := c.Exec(ctx, "GRANT EXECUTE ON FUNCTION pg_show_all_file_settings(), pg_hba_file_rules() TO PUBLIC",
			"SELECT pg_create_physical_replication_slot('kept', true)", "CREATE TABLE t AS SELECT 1 AS v"); err != nil {
			t.Fatal(err)
		}
		defs, err := collector.Embedded()
		if err != nil {
			t.Fatal(err)
		}
		users := map[string][]string{} // function to the collectors that can do without it
		var used []definition.Definition
		number, err := c.Query(ctx, "postgres", "SELECT current_setting('server_version_num')")
		if err != nil {
			t.Fatal(err)
		}
		version, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range defs {
			optional := d.OptionalFor(version)
			for _, o := range optional {
				if !slices.Contains(users[o.Function], d.Name) {
					users[o.Function] = append(users[o.Function], d.Name)
				}
			}
			if len(optional) > 0 {
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
						able := slices.DeleteFunc(slices.Clone(used), func(d definition.Definition) bool { return d.Name == whatItIsAbout[function] })
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
func familiesOf(t *testing.T, c *pgtest.Cluster, role probe.Role, defs []definition.Definition, denied []string) map[string]string {
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
		page := b.scrape(t, pgtest.Patience(5*time.Second))
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
func startDefinitions(t *testing.T, c *pgtest.Cluster, role probe.Role, defs []definition.Definition) *bench {
	t.Helper()
	b := start(t, c, one("none", "1h", "SELECT 1 AS v"))
	b.prober.says(postgres.OK, role)
	b.engine.SetDefinitions(defs)
	return b
}
