package collector

import (
	"fmt"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// A subscription that meets a row of its own is broken until somebody mends it: seen by its missing worker, and by
// what it counts where the server counts.
func TestABrokenSubscriptionIsSeen(t *testing.T) {
	t.Parallel()
	settings := map[string]string{"wal_level": "logical", "wal_retrieve_retry_interval": "'1s'"}
	pgtest.EachVersion(t, pgtest.Options{Settings: settings}, func(t *testing.T, c *pgtest.Cluster) {
		ctx := t.Context()
		must(t, c.Exec(ctx, "CREATE DATABASE subscriber"))
		for _, database := range []string{"postgres", "subscriber"} {
			must(t, c.ExecIn(ctx, database, "CREATE TABLE orders (id int PRIMARY KEY)"))
		}
		must(t, c.Exec(ctx, "CREATE PUBLICATION orders FOR TABLE orders", "SELECT pg_create_logical_replication_slot('orders', 'pgoutput')"))
		must(t, c.ExecIn(ctx, "subscriber", fmt.Sprintf("CREATE SUBSCRIPTION orders CONNECTION '%s' PUBLICATION orders WITH (create_slot = "+
			"false, slot_name = 'orders')",
			c.SocketDSN(pgtest.Superuser, "postgres"))))
		of := func(what string) string {
			return fmt.Sprintf(`pg_reliability_subscription_%s|datname="subscriber"|subname="orders"`, what)
		}
		is := func(want map[string]float64) {
			t.Helper()
			pgtest.Eventually(t, 30*time.Second, func() error {
				got := ask(t, c, "subscriber", "subscriptions", "subscription_tables", "subscription_conflicts")
				for series, v := range want {
					if is, ok := got[series]; !ok || is != v {
						return fmt.Errorf("%s = %v (there: %v), want %v; got %v", series, is, ok, v, got)
					}
				}
				return nil
			})
		}
		is(map[string]float64{of("enabled"): 1, of("apply_workers"): 1, of("tables"): 1, of("tables_not_ready"): 0})
		if got := ask(t, c, "postgres", "subscriptions", "subscription_tables"); got[of("apply_workers")] != 1 || len(got) < 3 {
			t.Errorf("from another database: %v", got)
		}

		// The only way to see a worker of 13 and 14 fail is that it is not there.
		must(t, c.ExecIn(ctx, "subscriber", "INSERT INTO orders VALUES (1)"))
		must(t, c.Exec(ctx, "INSERT INTO orders VALUES (1)"))
		is(map[string]float64{of("enabled"): 1, of("apply_workers"): 0})
		if c.Install.Major >= 15 {
			pgtest.Eventually(t, 30*time.Second, func() error {
				if got := ask(t, c, "postgres", "subscriptions"); got[of("apply_errors_total")] < 2 || got[of("sync_errors_total")] != 0 {
					return fmt.Errorf("got %v", got)
				}
				return nil
			})
		}
		if c.Install.Major >= 18 {
			if got := ask(t, c, "postgres", "subscription_conflicts"); got[of("conflicts_total")+`|conflict="insert_exists"`] < 1 {
				t.Errorf("no conflict: %v", got)
			}
		}

		must(t, c.ExecIn(ctx, "subscriber", "DELETE FROM orders"))
		is(map[string]float64{of("enabled"): 1, of("apply_workers"): 1})
		must(t, c.ExecIn(ctx, "subscriber", "ALTER SUBSCRIPTION orders DISABLE"))
		is(map[string]float64{of("enabled"): 0, of("apply_workers"): 0})
		// An end that can be dropped without its slot.
		must(t, c.ExecIn(ctx, "subscriber", "ALTER SUBSCRIPTION orders SET (slot_name = NONE)", "DROP SUBSCRIPTION orders"))
	})
}
