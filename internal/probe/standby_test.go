package probe

import (
	"errors"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestStandbyThatHearsNothing freezes the receiver, whose status then says for ever that it streams: no replay lag of 0 may be told,
// by which /replica would send readers to a standby that is behind without bound. Where the receiver has no timeout, a link that is
// silent is not told from an idle primary: the lag is unknown, and /replica?max_lag= answers 503.
func TestStandbyThatHearsNothing(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		s, err := c.Standby(t.Context())
		must(t, err)
		t.Cleanup(func() { _ = s.Close() })
		must(t, s.Configure(map[string]string{"wal_receiver_timeout": "1s"}))
		must(t, s.Reload())
		forGood, err := c.Standby(t.Context())
		must(t, err)
		t.Cleanup(func() { _ = forGood.Close() })
		must(t, forGood.Configure(map[string]string{"wal_receiver_timeout": "0"}))
		must(t, forGood.Reload())
		without := start(t, quick(connectTo(t, forGood.MonitorDSN())))
		p := start(t, quick(connectTo(t, s.MonitorDSN())))
		must(t, c.Exec(t.Context(), "CREATE TABLE t (id int)"))
		// A lag is counted from the last transaction that was replayed: there is none before the table has arrived.
		for _, standby := range []*pgtest.Cluster{s, forGood} {
			pgtest.Eventually(t, 30*time.Second, func() error {
				replayed, err := standby.Query(t.Context(), "postgres", "SELECT (pg_last_xact_replay_timestamp() IS NOT NULL)::text")
				if err == nil && replayed != "true" {
					err = errors.New("no transaction was replayed yet")
				}
				return err
			})
		}
		p.wait(t, "replaying all it receives", func(s Snapshot) bool { return s.Server.ReplayLag == 0 })
		without.wait(t, "replaying all it receives", func(s Snapshot) bool { return s.Server.ReplayLag == 0 })

		for _, standby := range []*pgtest.Cluster{s, forGood} {
			pid, err := standby.Query(t.Context(), "postgres", "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walreceiver'")
			must(t, err)
			receiver, err := strconv.Atoi(pid)
			must(t, err)
			must(t, syscall.Kill(receiver, syscall.SIGSTOP))
			defer func() { _ = syscall.Kill(receiver, syscall.SIGCONT) }()
		}
		must(t, c.Exec(t.Context(), "INSERT INTO t SELECT generate_series(1, 1000)"))
		p.wait(t, "behind, with a link that is silent", func(s Snapshot) bool { return s.Server.ReplayLag > time.Second })
		without.wait(t, "of unknown lag", func(s Snapshot) bool { return s.Answers() && s.Server.ReplayLag == UnknownLag })
	})
}
