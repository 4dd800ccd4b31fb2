package alerts_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

// An outage that lasts until its page has come is longer than the recovery objective, which is a ticket; and it may
// burn the hour's share of the error budget, which is never muted.
var longOutage = []string{"PostgresRecoverySlow", "PostgresErrorBudgetBurn"}

// faults are all but the death of Alertmanager, which is nobody's who is watched.
func faults() []fault {
	return slices.Concat(serverFaults(), backupFaults(), containerFaults(), clockFaults(), companionFaults())
}

// stutter freezes the server for less than a probe waits: that is a stall, and no outage.
func stutter(s *scene) {
	const frozen, between = 1200 * time.Millisecond, 1500 * time.Millisecond
	for range 5 {
		s.pg.Pause()
		time.Sleep(frozen)
		s.pg.Resume()
		time.Sleep(between)
	}
}

func serverFaults() []fault {
	return []fault{
		{
			name: "server-killed", about: "SIGKILL of the postmaster and its children, started again after the page", short: true,
			cause:  incident.ServerKilled,
			inject: func(s *scene) { s.pg.KillServer() },
			heal:   func(s *scene) { s.must(s.pg.Launch(context.Background())) },
			want:   []alarm{{name: "PostgresDown", severity: "critical"}}, may: longOutage,
		},
		{
			name: "server-frozen", about: "SIGSTOP of all processes, SIGCONT after the page",
			cause:  incident.Frozen,
			inject: func(s *scene) { s.pg.Pause() },
			heal:   func(s *scene) { s.pg.Resume() },
			want:   []alarm{{name: "PostgresDown", severity: "critical"}}, may: longOutage,
		},
		{
			name: "server-stutters", about: "SIGSTOP of all processes for 1.2 s, five times: every read is answered, and late",
			cause:  incident.Frozen,
			inject: stutter,
		},
		{
			name: "server-away", about: "stopped for 20 s, less than the recovery objective", short: true,
			cause: incident.Restarted,
			inject: func(s *scene) {
				s.must(s.pg.Stop())
				s.metric("pg_reliability_outage_in_progress_seconds", 20)
				s.must(s.pg.Launch(context.Background()))
			},
		},
		{
			name: "server-restarted", about: "a fast restart",
			cause: incident.Restarted,
			inject: func(s *scene) {
				s.must(s.pg.Restart(context.Background()))
				s.metric(`pg_reliability_restarts_total{kind="restart"}`, 1)
			},
		},
		{
			name: "restart-loop", about: "three restarts in a row",
			cause: incident.Restarted,
			inject: func(s *scene) {
				for n := 1; n <= 3; n++ {
					s.must(s.pg.Restart(context.Background()))
					s.metric(`pg_reliability_restarts_total{kind="restart"}`, float64(n))
				}
			},
			want: []alarm{{name: "PostgresRestartLoop", severity: "critical"}},
		},
		{
			name: "backend-killed", about: "SIGKILL of one session's process: the server cuts all sessions and recovers", short: true,
			cause:  incident.KilledBySignal,
			inject: func(s *scene) { s.must(s.pg.KillBackend(context.Background())) },
			want:   []alarm{{name: "PostgresCrashRecovery", severity: "warning"}},
		},
		{
			name: "connections-exhausted", about: "a client takes every slot that is not reserved", short: true,
			cause:    incident.ConnectionsExhausted,
			settings: map[string]string{"max_connections": "14"},
			inject:   exhaust,
			want:     []alarm{{name: "PostgresConnectionsExhausted", severity: "critical"}},
			may:      longOutage, // logins failed
		},
		{
			name: "network-cut", about: "the network between the exporter and its server is gone, and back after the page",
			cause: incident.Network,
			build: func(s *scene) {
				s.pg = newCluster(s, nil)
				s.behindProxy()
			},
			inject: func(s *scene) { s.proxy.Leave() },
			heal:   func(s *scene) { s.must(s.proxy.Return()) },
			want:   []alarm{{name: "PostgresDown", severity: "critical"}}, may: longOutage,
		},
		{
			name: "failed-over", about: "the primary is killed, its standby promoted, and the address leads there",
			cause: incident.FailedOver,
			build: func(s *scene) {
				replica(s)
				s.next, s.standby = s.standby, nil // it is watched as whoever is at the address
				s.behindProxy()
			},
			inject: func(s *scene) {
				s.pg.KillServer()
				s.must(s.next.Promote(context.Background()))
				s.proxy.Lead(s.next)
				s.metric(`pg_reliability_restarts_total{kind="failover"}`, 1)
			},
		},
		{
			name: "roles-locked", about: "a transaction locks the table of roles, so that nobody can log in, until after the page",
			cause:  incident.LockQueue,
			inject: func(s *scene) { s.session("BEGIN", "LOCK TABLE pg_authid", "SELECT pg_sleep(3600)") },
			want:   []alarm{{name: "PostgresLoginFailing", severity: "critical"}},
			may:    append([]string{"PostgresBlockedSessions", "PostgresIdleInTransaction", "PostgresLongTransaction"}, longOutage...),
		},
		{
			name: "lock-with-waiters", about: "a transaction locks a table, another waits", short: true,
			inject: block,
			want:   []alarm{{name: "PostgresBlockedSessions", severity: "warning"}, {name: "PostgresBlockedSessions", severity: "critical"}},
		},
		{
			name: "idle-in-transaction", about: "a client begins a transaction and goes to lunch",
			inject: func(s *scene) { s.session("BEGIN", "SELECT 1") },
			want:   []alarm{{name: "PostgresIdleInTransaction", severity: "warning"}},
		},
		{
			name: "transaction-prepared", about: "a client prepares a transaction, and nobody ends it",
			settings: map[string]string{"max_prepared_transactions": "1"},
			inject: func(s *scene) {
				s.must(s.pg.Exec(context.Background(), "BEGIN; CREATE TABLE orders (id int); PREPARE TRANSACTION 'forgotten'"))
			},
			heal: func(s *scene) { s.must(s.pg.Exec(context.Background(), "ROLLBACK PREPARED 'forgotten'")) },
			want: []alarm{{name: "PostgresLongTransaction", severity: "warning"}},
		},
		{
			name: "volume-fills", about: "a volume fills by 1 % every 45 s, from 70 % to 97 %",
			build: smallVolume, inject: fill, heal: empty,
			want: []alarm{{name: "PostgresDiskFillsSoon", severity: "critical"}, {name: "PostgresDiskFull", severity: "warning"},
				{name: "PostgresDiskFull", severity: "critical"}},
		},
		{
			name: "volume-filled", about: "a volume fills at once, from 70 % to 97 %",
			build: smallVolume, heal: empty,
			inject: func(s *scene) {
				s.must(os.WriteFile(filepath.Join(s.volume, "filler"), make([]byte, 27<<20), 0o600))
			},
			want: []alarm{{name: "PostgresDiskFull", severity: "critical"}}, // and no ticket of the same, nor that it will be full
		},
		{
			name: "volume-read-only", about: "a volume is remounted read-only",
			build:  smallVolume,
			inject: func(s *scene) { s.must(mount("-o", "remount,ro", s.volume)) },
			heal:   func(s *scene) { s.must(mount("-o", "remount,rw", s.volume)) },
			want:   []alarm{{name: "PostgresVolumeReadOnly", severity: "critical"}},
		},
		{
			name: "archive-broken", about: "archive_command fails",
			settings: map[string]string{"archive_mode": "on", "archive_command": "'/bin/true'"},
			inject:   func(s *scene) { s.archive("/bin/false") },
			heal:     func(s *scene) { s.archive("/bin/true") },
			want:     []alarm{{name: "PostgresArchiveFailing", severity: "warning"}, {name: "PostgresArchiveFailing", severity: "critical"}},
		},
		{
			name: "archive-hangs", about: "archive_command neither ends nor fails",
			settings: map[string]string{"archive_mode": "on", "archive_command": "'/bin/true'"},
			inject: func(s *scene) {
				s.must(os.WriteFile(stuck(s), nil, 0o600))
				s.archive("while test -e " + stuck(s) + "; do sleep 0.2; done")
			},
			heal: func(s *scene) { s.must(os.Remove(stuck(s))) },
			want: []alarm{{name: "PostgresArchiveFailing", severity: "warning"}, {name: "PostgresArchiveFailing", severity: "critical"}},
		},
		{
			name: "slot-retains-wal", about: "a replication slot that nobody reads, and 64 MB of WAL",
			settings: map[string]string{"max_slot_wal_keep_size": "'64MB'"},
			inject:   retain,
			heal: func(s *scene) {
				s.must(s.pg.Exec(context.Background(), "SELECT pg_drop_replication_slot('forgotten')"))
			},
			want: []alarm{{name: "PostgresSlotRetention", severity: "critical"}},
			may:  []string{"PostgresSlotRetention"}, // the ticket, when a quarter of the limit was left for long enough
		},
		{
			name: "replica-cut-off", about: "the network between a standby and its primary breaks",
			build:  replicaBehindProxy,
			inject: func(s *scene) { s.proxy.Refuse(true); s.proxy.Cut() },
			heal:   func(s *scene) { s.proxy.Refuse(false) },
			want:   []alarm{{name: "PostgresReplicaNotStreaming", severity: "critical", instance: "replica-cut-off-standby"}},
		},
		{
			name: "two-primaries", about: "the standby is promoted while the primary lives; the old primary is stopped after the page",
			build:  replica,
			inject: func(s *scene) { s.must(s.standby.Promote(context.Background())) },
			heal:   func(s *scene) { s.must(s.pg.Stop()) },
			want:   []alarm{{name: "PostgresSplitBrain", severity: "critical", instance: noInstance}},
			may:    append([]string{"PostgresDown"}, longOutage...), // of the one that was stopped
		},
		{
			name: "exporter-killed", about: "SIGKILL of the exporter, started again after the page",
			inject: func(s *scene) { s.exporter.Kill() },
			heal:   func(s *scene) { s.exporter.Start(s) },
			want:   []alarm{{name: "PostgresExporterDown", severity: "critical"}},
		},
	}
}

// behindProxy has the exporter come to the server through a network that can be cut.
func (s *scene) behindProxy() {
	s.proxy = pgtest.NewProxy(s, s.pg)
	s.dsn = s.proxy.DSN(s.pg.MonitorDSN())
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// metric waits until the exporter shows at least a value.
func (s *scene) metric(series string, least float64) {
	s.Helper()
	line := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`)
	pgtest.Eventually(s, time.Minute, func() error {
		time.Sleep(100 * time.Millisecond) // one page costs the server a few queries
		page, err := stack.Get(s.exporter.URL + "/metrics")
		if err != nil {
			return err
		}
		found := line.FindStringSubmatch(page)
		if found == nil {
			return fmt.Errorf("no %s on the page", series)
		}
		v, err := strconv.ParseFloat(found[1], 64)
		if err == nil && v < least {
			err = fmt.Errorf("%s is %v, want %v", series, v, least)
		}
		return err
	})
}

// session runs statements in a session that stays open until the fault is healed. The last may run until then.
func (s *scene) session(statements ...string) {
	s.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := s.pg.Connect(ctx, "postgres")
	s.must(err)
	done := make(chan struct{})
	before := s.quit
	s.quit = func() {
		before()
		cancel()
		<-done
		_ = conn.Close(context.Background())
	}
	last := len(statements) - 1
	for _, statement := range statements[:last] {
		_, err := conn.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol)
		s.must(err)
	}
	go func() {
		defer close(done)
		_, _ = conn.Exec(ctx, statements[last], pgx.QueryExecModeSimpleProtocol)
		<-ctx.Done()
	}()
}

func block(s *scene) {
	s.must(s.pg.Exec(context.Background(), "CREATE TABLE orders (id int)"))
	s.session("BEGIN", "LOCK TABLE orders", "SELECT pg_sleep(3600)")
	s.session("SET application_name = 'waiter'", "SELECT count(*) FROM orders")
}

func exhaust(s *scene) {
	ctx := context.Background()
	var open []*pgx.Conn
	s.quit = func() {
		for _, c := range open {
			_ = c.Close(ctx)
		}
	}
	for {
		c, err := pgx.Connect(ctx, s.pg.MonitorDSN())
		if err != nil {
			break // too many clients already
		}
		open = append(open, c)
	}
	if len(open) == 0 {
		s.Fatal("not one connection could be opened")
	}
}

func mount(args ...string) error {
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("mount: %w: %s. HINT: This fault needs root on Linux", err, out)
	}
	return nil
}

// smallVolume is 70 % full.
func smallVolume(s *scene) {
	s.volume = s.TempDir()
	s.must(mount("-t", "tmpfs", "-o", "size=100m", "tmpfs", s.volume))
	s.Cleanup(func() { _ = exec.Command("umount", s.volume).Run() })
	s.must(os.WriteFile(filepath.Join(s.volume, "data"), make([]byte, 70<<20), 0o600))
	s.args = append(s.args, "--volume=data="+s.volume)
	s.pg = newCluster(s, nil)
}

func fill(s *scene) {
	stop, done := make(chan struct{}), make(chan struct{})
	s.quit = sync.OnceFunc(func() { close(stop); <-done })
	f, err := os.Create(filepath.Join(s.volume, "filler"))
	s.must(err)
	go func() {
		defer close(done)
		defer f.Close()
		tick := time.NewTicker(s.mode.scaled(45 * time.Second))
		defer tick.Stop()
		for n := 70; n < 97; n++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if _, err := f.Write(make([]byte, 1<<20)); err != nil {
				s.Errorf("fill the volume: %v", err)
			}
		}
	}()
}

func empty(s *scene) {
	s.quit()
	s.must(errors.Join(os.Remove(filepath.Join(s.volume, "filler")), os.Remove(filepath.Join(s.volume, "data"))))
}

func (s *scene) archive(command string) {
	s.must(errors.Join(
		s.pg.Configure(map[string]string{"archive_command": "'" + command + "'"}),
		s.pg.Reload(),
	))
	pgtest.Eventually(s, 10*time.Second, func() error {
		now, err := s.pg.Query(context.Background(), "postgres", "current_setting('archive_command')")
		if err == nil && now != command {
			err = fmt.Errorf("archive_command is %s", now)
		}
		return err
	})
	s.must(s.pg.Exec(context.Background(), "SELECT pg_logical_emit_message(false, 'x', 'x')", "SELECT pg_switch_wal()"))
}

// stuck is a file for as long as which archiving hangs.
func stuck(s *scene) string { return filepath.Join(s.pg.Dir, "stuck") }

func retain(s *scene) {
	ctx := context.Background()
	s.must(s.pg.Exec(ctx, "SELECT pg_create_physical_replication_slot('forgotten', true)"))
	for range 200 {
		s.must(s.pg.Exec(ctx, "SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000))"))
		low, err := s.pg.Query(ctx, "postgres", "SELECT safe_wal_size < 5000000 FROM pg_replication_slots")
		s.must(err)
		if low == "true" {
			return
		}
	}
	s.Fatal("the slot's reserve does not shrink")
}

func replica(s *scene) {
	s.pg = newCluster(s, nil)
	standby, err := s.pg.Standby(context.Background())
	s.must(err)
	s.standby = standby
	s.Cleanup(func() { _ = standby.Close() })
}

func replicaBehindProxy(s *scene) {
	replica(s)
	s.proxy = pgtest.NewProxy(s, s.pg)
	s.must(errors.Join(
		s.standby.Configure(map[string]string{"primary_conninfo": fmt.Sprintf("'host=127.0.0.1 port=%d user=%s'", s.proxy.Port(),
			pgtest.Superuser)}),
		s.standby.Reload(),
	))
	pgtest.Eventually(s, 30*time.Second, func() error {
		port, err := s.standby.Query(context.Background(), "postgres", "SELECT sender_port FROM pg_stat_wal_receiver WHERE status = 'streaming'")
		if err == nil && port != strconv.Itoa(s.proxy.Port()) {
			err = fmt.Errorf("the standby streams from port %s", port)
		}
		return err
	})
}
