package alerts_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// pages is all that was ever seen on real pages: our exporter on a real primary and a real standby, the backup job's
// metrics of a real repository, Prometheus and Alertmanager themselves.
type pages struct {
	mu     sync.Mutex
	types  map[string]string
	series map[string][]map[string]string
}

func (p *pages) add(families map[string]*dto.MetricFamily) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, f := range families {
		p.types[name] = strings.ToLower(f.GetType().String())
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if m.GetSummary() != nil {
				p.series[name+"_count"] = append(p.series[name+"_count"], labels)
				p.series[name+"_sum"] = append(p.series[name+"_sum"], labels)
				continue
			}
			if h := m.GetHistogram(); h != nil {
				for _, suffix := range []string{"_count", "_sum"} {
					p.series[name+suffix] = append(p.series[name+suffix], labels)
				}
				for _, b := range h.GetBucket() {
					bucket := map[string]string{"le": fmt.Sprint(b.GetUpperBound())}
					for k, v := range labels {
						bucket[k] = v
					}
					p.series[name+"_bucket"] = append(p.series[name+"_bucket"], bucket)
				}
				continue
			}
			p.series[name] = append(p.series[name], labels)
		}
	}
}

func (p *pages) text(text string) error {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err == nil {
		p.add(families)
	}
	return err
}

// scrape reads a page until nothing is missing on it.
func (p *pages) scrape(t testing.TB, url string, wanted ...string) {
	t.Helper()
	pgtest.Eventually(t, 60*time.Second, func() error {
		page, err := get(url + "/metrics")
		if err != nil {
			return err
		}
		var errs []error
		for _, w := range wanted {
			if !strings.Contains(page, w) {
				errs = append(errs, fmt.Errorf("%s is not on the page", w))
			}
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		return p.text(page)
	})
}

var (
	common = sync.OnceValue(func() *pages { return &pages{types: map[string]string{}, series: map[string][]map[string]string{}} })
	shared struct {
		sync.Mutex
		programs, servers bool
	}
)

// programPages are those of Prometheus, Alertmanager and the backup job, made once for all tests that ask.
func programPages(t *testing.T) *pages {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	p := common()
	if !shared.programs {
		p.programs(t)
		p.backups(t)
		shared.programs = true
	}
	return p
}

// realPages are all, of the one version that most tests take.
func realPages(t *testing.T) *pages {
	t.Helper()
	p := programPages(t)
	shared.Lock()
	defer shared.Unlock()
	if !shared.servers {
		p.servers(t, pgtest.New(t, pageServer()))
		shared.servers = true
	}
	return p
}

func (p *pages) clone() *pages {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &pages{types: maps.Clone(p.types), series: map[string][]map[string]string{}}
	for name, series := range p.series {
		c.series[name] = slices.Clip(series)
	}
	return c
}

var described = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\|")

// metricTypes are the pages' own, and the catalogue's where a page says untyped.
func metricTypes(t *testing.T) map[string]string {
	t.Helper()
	types := maps.Clone(realPages(t).types)
	catalogue, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range described.FindAllStringSubmatch(string(catalogue), -1) {
		if types[m[1]] == "" || types[m[1]] == "untyped" {
			types[m[1]] = m[2]
		}
	}
	return types
}

// programs are Prometheus and Alertmanager, after a notification.
func (p *pages) programs(t *testing.T) {
	dir := t.TempDir()
	am, prom := freeAddress(t), freeAddress(t)
	alertmanager := startAlertmanager(t, dir, am, "http://127.0.0.1:1", func(config string) string { return config })
	prometheus := startPrometheus(t, dir, prom, prometheusConfig(prom, am, filepath.Join(absolute(t), "*.rules.yml"), nil, time.Second))
	p.scrape(t, prometheus.url, "prometheus_rule_evaluation_failures_total", "prometheus_notifications_errors_total")
	p.scrape(t, alertmanager.url, "alertmanager_notifications_failed_total")
}

// pageServer is a server on which everything that alerts look at can happen.
func pageServer() pgtest.Options {
	return pgtest.Options{
		InitArgs: []string{"--data-checksums"},
		Settings: map[string]string{"archive_mode": "on", "archive_command": "'/bin/true'", "max_slot_wal_keep_size": "'1GB'"},
	}
}

// servers are a primary on which something of everything has happened, and its standby.
func (p *pages) servers(t *testing.T, primary *pgtest.Cluster) {
	t.Helper()
	ctx := context.Background()
	damage(t, primary)
	if err := primary.Exec(ctx, "CREATE TABLE orders AS SELECT g FROM generate_series(1, 100) AS g",
		"SELECT pg_create_physical_replication_slot('standby1', true)", "SELECT pg_switch_wal()"); err != nil {
		t.Fatal(err)
	}
	standby, err := primary.Standby(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Close() })
	// What was archived while the primary stopped is not in its statistics.
	if err := primary.Exec(ctx, "CREATE TABLE archived ()", "SELECT pg_switch_wal()"); err != nil {
		t.Fatal(err)
	}
	first := startExporter(t, primary.MonitorDSN(), "--volume=data="+primary.DataDir())
	second := startExporter(t, standby.MonitorDSN(), "--volume=data="+standby.DataDir())
	p.scrape(t, first.url, `kind="crash"`, `pg_stat_user_tables_n_dead_tup{`, "pg_reliability_archiver_failing ", "pg_settings_max_slot_wal_keep_size_bytes",
		"pg_reliability_server_info{", "pg_reliability_archiver_ready_files", "pg_reliability_settings_pending_restart ")
	p.scrape(t, second.url, "pg_reliability_replication_streaming 1", "pg_reliability_replication_behind_bytes")
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

// backups are two good ones, a failed run, one that is under way, a daemon, and a restore of an empty server.
func (p *pages) backups(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	primary := newCluster(t, nil)
	if err := primary.Exec(ctx, "CREATE TABLE orders AS SELECT g FROM generate_series(1, 100) AS g"); err != nil {
		t.Fatal(err)
	}
	repository := filepath.Join(t.TempDir(), "repository")
	if err := os.Mkdir(repository, 0o755); err != nil {
		t.Fatal(err)
	}
	path := program(t, "pg_reliability_backup")
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
		if err := registry.Register(metrics.New(dir, time.Now)); err != nil {
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
		p.add(byName)
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
	if err := spawn(second); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 30*time.Second, func() error { return gather("pg_reliability_backup_running_since_timestamp_seconds") })
	if _, err := lock.Exec(ctx, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Fatalf("the second backup: %v", err)
	}

	address := freeAddress(t)
	daemon := run(t, "backup daemon", "http://"+address, "/metrics", func() *exec.Cmd {
		return backup(superuser, "schedule", "--web.listen-address="+address)
	})
	p.scrape(t, daemon.url, "pg_reliability_backup_next_run_timestamp_seconds ", "pg_reliability_backup_schedule_interval_seconds ")
	daemon.kill()

	empty := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	must(backup(empty.DSN(pgtest.Superuser, "postgres"), "bootstrap"))
	if err := gather("pg_reliability_backup_auto_restore_last_timestamp_seconds", "pg_reliability_backup_last_failure_timestamp_seconds"); err != nil {
		t.Fatal(err)
	}
}

func absolute(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// target is one exporter as Prometheus is told of it.
type target struct{ address, cluster, instance string }

// prometheusConfig scrapes what a user's does: the exporters, Prometheus itself and Alertmanager.
func prometheusConfig(prom, am, rules string, targets []target, interval time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "global: {scrape_interval: %[1]s, scrape_timeout: %[1]s, evaluation_interval: %[1]s}\n", min(interval, 10*time.Second))
	if interval > 10*time.Second {
		b.Reset()
		fmt.Fprintf(&b, "global: {scrape_interval: %s, scrape_timeout: 10s, evaluation_interval: %s}\n", interval, interval)
	}
	fmt.Fprintf(&b, "rule_files: [%q]\n", rules)
	fmt.Fprintf(&b, "alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}\n", am)
	fmt.Fprintf(&b, "scrape_configs:\n")
	fmt.Fprintf(&b, "  - {job_name: prometheus, static_configs: [{targets: [%q], labels: {instance: prometheus}}]}\n", prom)
	fmt.Fprintf(&b, "  - {job_name: alertmanager, static_configs: [{targets: [%q], labels: {instance: alertmanager}}]}\n", am)
	fmt.Fprintf(&b, "  - job_name: postgres\n    static_configs:\n")
	if len(targets) == 0 {
		fmt.Fprintf(&b, "      []\n")
	}
	for _, t := range targets {
		fmt.Fprintf(&b, "      - {targets: [%q], labels: {cluster: %q, instance: %q}}\n", t.address, t.cluster, t.instance)
	}
	return b.String()
}
