package collector

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// Since 19 data checksums are switched while the server runs, and wal_level replica becomes logical with the first
// logical slot. What is in force is shown, whatever the files say.
func TestChecksumsAndWALLevelAreThoseInForce(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{Settings: map[string]string{"wal_level": "replica"}}, func(t *testing.T, c *pgtest.Cluster) {
		ctx := t.Context()
		const on, switching = "pg_reliability_data_checksums", "pg_reliability_data_checksums_switching"
		info := func(got map[string]float64, label string) bool {
			for series := range got {
				if strings.HasPrefix(series, "pg_reliability_server_info|") && strings.Contains(series, label) {
					return true
				}
			}
			return false
		}
		state, err := c.Query(ctx, "postgres", "current_setting('data_checksums')")
		must(t, err)
		want := map[string]float64{on: 0, switching: -1}
		if state == "on" {
			want[on] = 1
		}
		if c.Install.Major < 19 {
			has(t, ask(t, c, "postgres", "server"), want)
			return
		}
		want[switching] = 0
		has(t, ask(t, c, "postgres", "server"), want)

		must(t, c.Exec(ctx, "SELECT pg_disable_data_checksums()"))
		is := func(v float64, label string) {
			t.Helper()
			pgtest.Eventually(t, 20*time.Second, func() error {
				got := ask(t, c, "postgres", "server")
				if got[on] != v || got[switching] != 0 || !info(got, label) {
					return fmt.Errorf("got %v", got)
				}
				return nil
			})
		}
		is(0, `data_checksums="off"`)
		// A temporary table of another session keeps the switch waiting: meanwhile they are written, and not compared.
		other := hold(t, c, "postgres", "CREATE TEMP TABLE waited_for (id int)", "INSERT INTO waited_for VALUES (1)")
		must(t, c.Exec(ctx, "SELECT pg_enable_data_checksums()"))
		pgtest.Eventually(t, 20*time.Second, func() error {
			got := ask(t, c, "postgres", "server")
			if got[on] != 0 || got[switching] != 1 || !info(got, `data_checksums="inprogress-on"`) {
				return fmt.Errorf("got %v", got)
			}
			return nil
		})
		must(t, other.Close(ctx))
		is(1, `data_checksums="on"`)

		if got := ask(t, c, "postgres", "server"); !info(got, `wal_level="replica"`) {
			t.Errorf("before the first logical slot: %v", got)
		}
		must(t, c.Exec(ctx, "SELECT pg_create_logical_replication_slot('first', 'test_decoding')"))
		if got := ask(t, c, "postgres", "server"); !info(got, `wal_level="logical"`) {
			t.Errorf("with a logical slot: %v", got)
		}
	})
}
