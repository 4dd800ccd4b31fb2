package collector

import (
	"fmt"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// Each kind of holder is told from the others, and a vacuum is none.
func TestVacuumIsHeldBackByWhom(t *testing.T) {
	t.Parallel()
	settings := map[string]string{"wal_level": "logical", "max_prepared_transactions": "2", "hot_standby_feedback": "on",
		"wal_receiver_status_interval": "'1s'", "autovacuum_freeze_max_age": "100000"}
	pgtest.EachVersion(t, pgtest.Options{Settings: settings}, func(t *testing.T, c *pgtest.Cluster) {
		ctx := t.Context()
		standby, err := c.Standby(ctx)
		must(t, err)
		t.Cleanup(func() { _ = standby.Close() })
		holder := func(name string) string {
			return fmt.Sprintf("pg_reliability_vacuum_horizon_age_transactions|holder=%q", name)
		}
		all := []string{"session", "prepared", "slot", "slot_catalog", "standby_feedback"}
		burn := func() {
			t.Helper()
			must(t, c.Exec(ctx, "CREATE TABLE IF NOT EXISTS burnt (id int)", "DO $$ BEGIN FOR i IN 1..200 LOOP BEGIN INSERT INTO burnt VALUES "+
				"(i); EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$"))
		}
		// held is whether the holder alone keeps 200 transactions. Whoever just passes by keeps a few. A standby reports a
		// transaction that is open on the primary, too: its own snapshots need it.
		held := func(who string) {
			t.Helper()
			pgtest.Eventually(t, 20*time.Second, func() error {
				got := ask(t, c, "postgres", "vacuum_horizon")
				for _, name := range all {
					age, ok := got[holder(name)]
					echo := name == "standby_feedback" && (who == "session" || who == "prepared")
					if !ok || !echo && (age >= 200) != (name == who) {
						return fmt.Errorf("%s is to hold, and %s: %v, %v", who, name, age, ok)
					}
				}
				return nil
			})
		}
		held("nobody")

		open := hold(t, c, "postgres", "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1")
		burn()
		held("session")
		if ratio := ask(t, c, "postgres", "vacuum_horizon")[`pg_reliability_vacuum_horizon_autovacuum_ratio|holder="session"`]; ratio < 0.002 ||
			ratio > 0.02 {
			t.Errorf("ratio %v of some 200 transactions to 100000", ratio)
		}
		must(t, open.Close(ctx))

		must(t, c.Exec(ctx, "BEGIN; INSERT INTO burnt VALUES (0); PREPARE TRANSACTION 'forgotten'"))
		burn()
		held("prepared")
		must(t, c.Exec(ctx, "ROLLBACK PREPARED 'forgotten'"))

		must(t, c.Exec(ctx, "SELECT pg_create_logical_replication_slot('unread', 'test_decoding')"))
		burn()
		held("slot_catalog")
		must(t, c.Exec(ctx, "SELECT pg_drop_replication_slot('unread')"))

		reading := hold(t, standby, "postgres", "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM burnt")
		pgtest.Eventually(t, 20*time.Second, func() error { // the standby has said so
			return expect(ctx, c, map[string]string{"SELECT (count(backend_xmin) > 0)::text FROM pg_stat_replication": "true"})
		})
		burn()
		held("standby_feedback")
		must(t, reading.Close(ctx))
		held("nobody")

		must(t, c.Exec(ctx, "SELECT pg_create_physical_replication_slot('kept', true)"))
		must(t, standby.Configure(map[string]string{"primary_slot_name": "kept"}))
		must(t, standby.Reload())
		hold(t, standby, "postgres", "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM burnt")
		pgtest.Eventually(t, 20*time.Second, func() error {
			return expect(ctx, c, map[string]string{"SELECT (xmin IS NOT NULL)::text FROM pg_replication_slots": "true"})
		})
		burn()
		held("slot")

		must(t, c.Exec(ctx, "REVOKE pg_monitor FROM "+pgtest.Monitor))
		if got := ask(t, c, "postgres", "vacuum_horizon"); len(got) != 0 {
			t.Errorf("without pg_monitor: %v", got)
		}
	})
}
