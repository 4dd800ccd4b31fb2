package dashboards_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
	"github.com/pg-reliability/pg_reliability_exporter/deploy/sql"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/pages"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

const (
	// proofScrape is Prometheus' interval, and what the data source would be told of it.
	proofScrape = time.Second
	// proofCompress shortens how long a state must last before it alerts, so that alerts fire within the minute.
	proofCompress = 60
)

// house is what somebody watches who has two clusters: shop (db1, its standby db2, backups) and billing, whose primary
// db3 dies so that the standby db4 takes over its address.
type house struct {
	testing.TB
	*stack.Stack
	db1, db2, db3, db4 *pgtest.Cluster
	exporters          [4]*stack.Process
	prometheus         *proofPrometheus
	alertmanager       *stack.Process
	repository         string
	store              *pgtest.S3
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{TB: t, Stack: stack.New(t, "..")}
	h.db1 = h.primary("db1", map[string]string{
		"archive_mode": "on", "archive_command": "'/bin/true'", "max_slot_wal_keep_size": "'1GB'", "wal_level": "logical",
		"max_prepared_transactions": "2", "deadlock_timeout": "'100ms'", "track_io_timing": "on", "autovacuum_naptime": "'1s'",
		"max_wal_size": "'64MB'", "min_wal_size": "'32MB'",
	})
	h.must(h.db1.Exec(context.Background(), "CREATE DATABASE shop",
		"CREATE SUBSCRIPTION elsewhere CONNECTION 'host=127.0.0.1' PUBLICATION orders WITH (connect = false)")) // switched off
	h.must(h.db1.ExecIn(context.Background(), "shop", heartbeat(t), "CREATE TABLE orders (id serial PRIMARY KEY, amount int)",
		"GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO "+pgtest.Monitor,
		"INSERT INTO orders (amount) SELECT g FROM generate_series(1, 1000) AS g", "ANALYZE", "VACUUM"))
	if h.hasStatements(h.db1.Install) { // the exporter looks for it in its own database
		h.must(h.db1.ExecIn(context.Background(), "shop", "CREATE EXTENSION pg_stat_statements"))
	}
	h.untidy()
	h.neglected()
	h.db2 = h.standby(h.db1, "db2")
	// after the copy: a standby has none of it
	h.must(h.db1.Exec(context.Background(), "SELECT pg_create_physical_replication_slot('db2', true)",
		"SELECT pg_create_logical_replication_slot('feed', 'test_decoding')"))
	h.must(errors.Join(h.db2.Configure(map[string]string{"primary_slot_name": "'db2'", "hot_standby_feedback": "on"}), h.db2.Reload()))
	installs := pgtest.Installed() // the newest, with or without programs for clients: pg_stat_io is there from 16 on
	h.db3 = h.primaryOf(installs[len(installs)-1], "db3", map[string]string{"track_io_timing": "on", "track_wal_io_timing": "on"})
	h.db4 = h.standby(h.db3, "db4")

	h.startBackups()
	h.exporters[0] = h.exporter("db1", h.db1, "--collector.statements_text", "--log.file="+h.db1.LogFile(), "--probe.write",
		"--probe.write-interval=1s",
		"--backup.catalog="+h.repository, "--pgbouncer.dsn="+h.db1.PgBouncer(h).DSN("stats", "pgbouncer"))
	h.exporters[1] = h.exporter("db2", h.db2)
	h.exporters[2] = h.exporter("db3", h.db3, "--collector.stat_io")
	h.exporters[3] = h.exporter("db4", h.db4)
	h.startMonitoring()
	h.load()
	return h
}

func (h *house) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *house) primary(name string, settings map[string]string) *pgtest.Cluster {
	h.Helper()
	install, err := pgtest.Find(0)
	h.must(err)
	return h.primaryOf(install, name, settings)
}

func (h *house) primaryOf(install pgtest.Install, name string, settings map[string]string) *pgtest.Cluster {
	h.Helper()
	all := map[string]string{"cluster_name": "'" + name + "'"}
	for k, v := range settings {
		all[k] = v
	}
	if h.hasStatements(install) {
		all["shared_preload_libraries"] = "'pg_stat_statements'"
	}
	c := pgtest.New(h, pgtest.Options{Install: install, Port: h.Port(h), Settings: all, InitArgs: []string{"--data-checksums"}})
	if h.hasStatements(install) {
		h.must(c.Exec(context.Background(), "CREATE EXTENSION pg_stat_statements"))
	}
	return c
}

// neglected is a schema that nobody has looked at: large enough for its empty space to be estimated, with indexes that are there for
// nothing, and one of everything that the board of tables finds.
func (h *house) neglected() {
	h.Helper()
	h.must(h.db1.ExecIn(context.Background(), "shop", "CREATE TABLE ledger (id int PRIMARY KEY, order_id int REFERENCES orders, note text)",
		"INSERT INTO ledger SELECT g, NULL, 'note ' || g FROM generate_series(1, 60000) AS g",
		"CREATE INDEX ledger_note ON ledger (note)", "CREATE INDEX ledger_note_again ON ledger (note)",
		"DELETE FROM ledger WHERE id % 2 = 0", "VACUUM ANALYZE ledger", "GRANT SELECT ON ledger TO "+pgtest.Monitor,
		"ALTER TABLE ledger ADD CONSTRAINT positive CHECK (id > 0) NOT VALID", "CREATE UNLOGGED TABLE basket (id int PRIMARY KEY)",
		"CREATE TABLE visits (id int, day int) PARTITION BY LIST (day)", "CREATE TABLE visits_1 PARTITION OF visits FOR VALUES IN (1)",
		"CREATE TABLE visits_other PARTITION OF visits DEFAULT", "INSERT INTO visits SELECT g, g % 3 FROM generate_series(1, 100) AS g",
		"ANALYZE visits"))
}

// untidy makes a table that autovacuum has seen, and that has dead rows again.
func (h *house) untidy() {
	h.Helper()
	ctx := context.Background()
	h.must(h.db1.ExecIn(ctx, "shop", "CREATE TABLE untidy (id int) WITH (autovacuum_vacuum_threshold = 0, autovacuum_analyze_threshold = 0)",
		"INSERT INTO untidy SELECT g FROM generate_series(1, 1000) AS g", "UPDATE untidy SET id = id + 1"))
	pgtest.Eventually(h, time.Minute, func() error {
		seen, err := h.db1.Query(ctx, "shop", "SELECT last_autovacuum IS NOT NULL AND last_autoanalyze IS NOT NULL FROM pg_stat_user_tables "+
			"WHERE relname = 'untidy'")
		if err == nil && seen != "true" {
			err = errors.New("autovacuum has not come by")
		}
		return err
	})
	h.must(h.db1.ExecIn(ctx, "shop", "ALTER TABLE untidy SET (autovacuum_enabled = off)", "UPDATE untidy SET id = id + 1"))
	pgtest.Eventually(h, time.Minute, func() error {
		dead, err := h.db1.Query(ctx, "shop", "SELECT n_dead_tup > 0 FROM pg_stat_user_tables WHERE relname = 'untidy'")
		if err == nil && dead != "true" {
			err = errors.New("no dead rows are counted")
		}
		return err
	})
}

// hasStatements says whether pg_stat_statements came with the server, as it does almost everywhere.
func (h *house) hasStatements(i pgtest.Install) bool {
	out, err := exec.Command(i.Bin("pg_config"), "--pkglibdir").Output()
	dir := strings.TrimSpace(string(out))
	if err != nil {
		dir = filepath.Join(i.BinDir, "..", "lib")
	}
	_, err = os.Stat(filepath.Join(dir, "pg_stat_statements.so"))
	return err == nil
}

func (h *house) standby(of *pgtest.Cluster, name string) *pgtest.Cluster {
	h.Helper()
	s, err := of.Standby(context.Background())
	h.must(err)
	h.Cleanup(func() { _ = s.Close() })
	h.must(errors.Join(s.Configure(map[string]string{"cluster_name": "'" + name + "'"}), s.Restart(context.Background())))
	return s
}

func heartbeat(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("../deploy/sql/heartbeat.sql")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (h *house) exporter(name string, c *pgtest.Cluster, args ...string) *stack.Process {
	h.Helper()
	if c == h.db1 || c == h.db3 { // standbys have it from them
		h.must(c.Exec(context.Background(), sql.MonitoringRole))
	}
	database := "postgres"
	if c == h.db1 || c == h.db2 {
		database = "shop"
	}
	return h.Exporter(h, c.DSN(pgtest.Monitor, database), append(args, "--state.dir="+filepath.Join(h.Dir, "state-"+name), "--volume=data="+
		c.DataDir(),
		"--volume=wal="+filepath.Join(c.DataDir(), "pg_wal"))...)
}

var (
	groupInterval = regexp.MustCompile(`(?m)^    interval: (30s|5m)$`)
	waits         = regexp.MustCompile(`(group_wait|group_interval): \w+`)
)

// startMonitoring runs Prometheus and Alertmanager as a user would, but for the patience of rules and routes.
func (h *house) startMonitoring() {
	h.Helper()
	config, err := alerts.Load()
	h.must(err)
	rules, err := config.Rules(proofCompress)
	h.must(err)
	for name, text := range rules {
		text = groupInterval.ReplaceAllString(text, "    interval: 1s")
		h.must(os.WriteFile(filepath.Join(h.Dir, name), []byte(text), 0o600))
	}
	routes, err := os.ReadFile("../alerts/alertmanager.yml")
	h.must(err)
	// Pages are heard; what takes tickets is broken, which boards show, too.
	hearer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ticket" {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	h.Cleanup(hearer.Close)
	heard := strings.ReplaceAll(waits.ReplaceAllString(string(routes), "$1: 1s"), "http://127.0.0.1:9095", hearer.URL)
	h.alertmanager = h.Alertmanager(h, heard)

	address := h.Address(h)
	daemon := stack.Run(h, "backup daemon", "http://"+address, "/metrics", func() *exec.Cmd {
		return h.backup(h.superuser(), "schedule", "--database=shop", "--cron=@every 1h", "--web.listen-address="+address)
	})
	targets := []stack.Target{
		stack.TargetOf(h.exporters[0], "postgres", "shop", "db1"),
		stack.TargetOf(h.exporters[1], "postgres", "shop", "db2"),
		stack.TargetOf(h.exporters[2], "postgres", "billing", "db3"),
		stack.TargetOf(h.exporters[3], "postgres", "billing", "db4"),
		// db1's exporter reads the repository by itself
		stack.TargetOf(daemon, "backup", "", "backup").Without("pg_reliability_(backup_([^b]|b[^u])|r[pt]o_).*"),
		stack.TargetOf(h.alertmanager, "alertmanager", "", "alertmanager"),
	}
	for i, name := range []string{"node1", "node2"} { // a real Patroni's pages; the servers here have none
		node := httptest.NewServer(pages.ServePatroni(i))
		h.Cleanup(node.Close)
		targets = append(targets, stack.Target{Job: "patroni", Address: strings.TrimPrefix(node.URL, "http://"), Cluster: "shop", Instance: name})
	}
	p := h.Prometheus(h, proofScrape, filepath.Join(h.Dir, "*.rules.yml"), strings.TrimPrefix(h.alertmanager.URL, "http://"), targets)
	h.prometheus = &proofPrometheus{p.URL}
}
