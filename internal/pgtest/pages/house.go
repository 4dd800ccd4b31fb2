package pages

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
	"github.com/pg-reliability/pg_reliability_exporter/deploy/sql"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

// Programs are Prometheus with our rules, Alertmanager with our routes, and Patroni.
func (p *Pages) Programs(t testing.TB, s *stack.Stack) {
	t.Helper()
	config, err := os.ReadFile(filepath.Join(s.Root, "alerts", "alertmanager.yml"))
	if err != nil {
		t.Fatal(err)
	}
	alertmanager := s.Alertmanager(t, string(config))
	prometheus := s.Prometheus(t, time.Second, filepath.Join(s.Root, "alerts", "*.rules.yml"), strings.TrimPrefix(alertmanager.URL,
		"http://"),
		nil)
	p.Scrape(t, prometheus.URL, "prometheus_rule_evaluation_failures_total", "prometheus_notifications_errors_total")
	p.Scrape(t, alertmanager.URL, "alertmanager_notifications_failed_total")
	if err := p.Patroni(); err != nil {
		t.Fatal(err)
	}
}

// Server is one on which everything that rules and boards look at can happen.
func Server() pgtest.Options {
	return pgtest.Options{
		InitArgs: []string{"--data-checksums"},
		Settings: map[string]string{
			"archive_mode": "on", "archive_command": "'/bin/true'", "max_slot_wal_keep_size": "'1GB'", "wal_level": "logical",
		},
	}
}

// Servers are a primary on which something of everything has happened, and its standby.
func (p *Pages) Servers(t testing.TB, s *stack.Stack, primary *pgtest.Cluster) {
	t.Helper()
	ctx := context.Background()
	damage(t, primary)
	if err := primary.Exec(ctx, sql.Heartbeat, "CREATE TABLE orders AS SELECT g FROM generate_series(1, 100) AS g",
		"CREATE SEQUENCE numbers", "GRANT SELECT ON SEQUENCE numbers TO "+pgtest.Monitor, "SELECT nextval('numbers')",
		"CREATE ROLE app LOGIN VALID UNTIL '2099-01-01'",
		"CREATE SUBSCRIPTION elsewhere CONNECTION 'host=127.0.0.1' PUBLICATION orders WITH (connect = false)", // switched off
		"SELECT pg_create_physical_replication_slot('standby1', true)", "SELECT pg_switch_wal()"); err != nil {
		t.Fatal(err)
	}
	if err := primary.EnableTLS(ctx, time.Now().Add(time.Hour), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	standby, err := primary.Standby(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Close() })
	// What was archived while the primary stopped is not in its statistics.
	if err := primary.Exec(ctx, "CREATE TABLE archived ()", "SELECT pg_switch_wal()",
		"SELECT pg_create_logical_replication_slot('feed', 'test_decoding')"); err != nil {
		t.Fatal(err)
	}
	first := s.Exporter(t, strings.Replace(primary.MonitorDSN(), "sslmode=disable", "sslmode=require", 1), "--state.dir="+t.TempDir(),
		"--volume=data="+primary.DataDir(), "--log.file="+primary.LogFile(), "--watchdog=command", "--watchdog.command=true",
		"--backup.catalog="+t.TempDir(),
		"--probe.write", "--objective.rpo=15m", "--objective.rto=1h", "--web.external-url=https://shop.example/db1/",
		"--pgbouncer.dsn="+primary.PgBouncer(t).DSN("stats", "pgbouncer"))
	// Its functions are allowed to superusers alone: what is denied is on this page.
	second := s.Exporter(t, standby.MonitorDSN(), "--state.dir=none", "--volume=data="+standby.DataDir(), "--collector.settings_files")
	// A session that works until it is in a sample of sessions, and writes until the standby's lag is known, and into the log.
	working, rest := context.WithCancel(ctx)
	rested := make(chan struct{})
	go func() {
		defer close(rested)
		for working.Err() == nil {
			// It ends with an error when it is cancelled.
			_ = primary.Exec(working, "INSERT INTO orders VALUES (1)", "DO $$BEGIN RAISE LOG 'at work'; END$$", "SELECT pg_sleep(0.2)")
		}
	}()
	defer func() { rest(); <-rested }()
	p.Scrape(t, first.URL, `kind="crash"`, `pg_reliability_session_samples_total{state="active"`,
		"pg_reliability_replication_client_replay_lag_seconds{", `pg_stat_user_tables_n_dead_tup{`, "pg_reliability_archiver_failing ",
		"pg_settings_max_slot_wal_keep_size_bytes",
		"pgbouncer_pools_client_maxwait_seconds{", "pgbouncer_stats_queries_pooled_total{", "pg_reliability_server_info{",
		"pg_reliability_archiver_ready_files", "pg_reliability_settings_pending_restart ", "pg_reliability_log_last_message_timestamp_seconds ",
		"pg_reliability_invalid_indexes{", "pg_reliability_sequence_used_ratio{", "pg_reliability_role_password_expiry_timestamp_seconds{",
		"pg_reliability_tls_chain_expiry_timestamp_seconds ", "pg_reliability_clock_skew_seconds ")
	p.Scrape(t, second.URL, "pg_reliability_replication_streaming 1", "pg_reliability_replication_behind_bytes",
		"pg_reliability_collector_denied{", "pg_reliability_heartbeat_lag_seconds{")
}

// damage flips bytes of a table beneath the server, and has it noticed.
func damage(t testing.TB, c *pgtest.Cluster) {
	t.Helper()
	ctx := context.Background()
	if err := c.Exec(ctx, "CREATE TABLE damaged AS SELECT g FROM generate_series(1, 100) AS g", "CHECKPOINT"); err != nil {
		t.Fatal(err)
	}
	path, err := c.Query(ctx, "postgres", "pg_relation_filepath('damaged')")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(c.DataDir(), path), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damage"), 8000); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Launch(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Exec(ctx, "SELECT count(*) FROM damaged"); err == nil {
		t.Fatal("the server did not notice the damage")
	}
	if err := c.Exec(ctx, "DROP TABLE damaged"); err != nil {
		t.Fatal(err)
	}
}

// Backups are two good ones, a failed run, one that is under way, a daemon, and a restore of an empty server.
func (p *Pages) Backups(t testing.TB, s *stack.Stack) {
	t.Helper()
	ctx := context.Background()
	primary := pgtest.New(t, pgtest.Options{Port: s.Port(t)})
	if err := primary.Exec(ctx, "CREATE TABLE orders AS SELECT g FROM generate_series(1, 100) AS g"); err != nil {
		t.Fatal(err)
	}
	repository := filepath.Join(t.TempDir(), "repository")
	if err := os.Mkdir(repository, 0o755); err != nil {
		t.Fatal(err)
	}
	path := s.Program(t, "pg_reliability_backup")
	backup := func(dsn string, args ...string) *exec.Cmd {
		cmd := exec.Command(path, append(args, "--repository="+repository)...)
		cmd.Env = append(os.Environ(), "DATA_SOURCE_NAME="+dsn)
		return cmd
	}
	superuser := primary.DSN(pgtest.Superuser, "postgres")
	must := func(cmd *exec.Cmd) {
		t.Helper()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args[1:], err, out)
		}
	}
	must(backup(superuser, "init"))
	must(backup(superuser, "run", "--verify", "--database=postgres"))
	if out, err := backup("postgres://postgres@127.0.0.1:1/postgres?sslmode=disable", "run").CombinedOutput(); err == nil {
		t.Fatalf("a backup of no server succeeded:\n%s", out)
	}

	gatherFrom := func(dir string, wanted ...string) error {
		registry := prometheus.NewRegistry()
		if err := registry.Register(metrics.New(dir, time.Now).Metrics()); err != nil {
			return err
		}
		families, err := registry.Gather()
		if err != nil {
			return err
		}
		byName := map[string]*dto.MetricFamily{}
		for _, f := range families {
			byName[f.GetName()] = f
		}
		for _, w := range wanted {
			if byName[w] == nil {
				return fmt.Errorf("%s is not there", w)
			}
		}
		p.Add(byName)
		return nil
	}
	gather := func(wanted ...string) error { return gatherFrom(repository, wanted...) }
	if err := gatherFrom(filepath.Join(repository, "missing"), "pg_reliability_backup_catalog_error_info"); err != nil {
		t.Fatal(err)
	}
	// A lock holds the run up until it was seen.
	lock, err := primary.Connect(ctx, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close(ctx)
	if _, err := lock.Exec(ctx, "BEGIN; LOCK TABLE orders", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	second := backup(superuser, "run", "--database=postgres")
	if err := pgtest.Spawn(second); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 30*time.Second, func() error { return gather("pg_reliability_backup_running_since_timestamp_seconds") })
	if _, err := lock.Exec(ctx, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Fatalf("the second backup: %v", err)
	}

	address := s.Address(t)
	daemon := stack.Run(t, "backup daemon", "http://"+address, "/metrics", func() *exec.Cmd {
		return backup(superuser, "schedule", "--web.listen-address="+address)
	})
	p.Scrape(t, daemon.URL, "pg_reliability_backup_next_run_timestamp_seconds ", "pg_reliability_backup_schedule_interval_seconds ")
	daemon.Kill()

	empty := pgtest.New(t, pgtest.Options{Port: s.Port(t), NoMonitorRole: true})
	must(backup(empty.DSN(pgtest.Superuser, "postgres"), "bootstrap"))
	if err := gather("pg_reliability_backup_auto_restore_last_timestamp_seconds",
		"pg_reliability_backup_last_failure_timestamp_seconds"); err != nil {
		t.Fatal(err)
	}
}

// Major is a server's major version, as Lookup.Version wants it.
func Major(t testing.TB, c *pgtest.Cluster) int {
	t.Helper()
	text, err := c.Query(t.Context(), "postgres", "current_setting('server_version_num')::int / 10000")
	if err != nil {
		t.Fatal(err)
	}
	major, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return major
}
