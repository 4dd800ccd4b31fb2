//go:build linux

package compose_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

const (
	recoveryObjective = 30 * time.Second
	restoreObjective  = 5 * time.Minute
	// watchdogObjective is --watchdog.after, which the exporter has to be sure for, and 25 s for the rest.
	watchdogObjective = 45 * time.Second
	// clockTolerance is what the prober's outages may differ from the clock: a probe's interval and timeout, and the
	// two commands that this test starts to look.
	clockTolerance = 2.0
	patience       = 2 * time.Minute
)

const (
	up       = "pg_up"
	restarts = `pg_reliability_restarts_total{kind=%q}`
)

// upFromNothing is the first promise.
func upFromNothing(t *testing.T, s *stack) {
	began := time.Now()
	s.mustCompose("up", "--detach")
	pgtest.Eventually(t, 5*time.Minute, s.unhealthy)
	s.record("Everything up from nothing: empty volumes, first schema, first backup restored and compared", 0, began)
	pgtest.Eventually(t, patience, s.targets)
	s.record("All targets of Prometheus up", 0, began)
	container := s.container("postgres")
	// The repository is looked at every 15 s, and the container every 5.
	pgtest.Eventually(t, patience, func() error {
		return s.shows(map[string]float64{
			up: 1, `pg_reliability_role{role="primary"}`: 1, "pg_reliability_backup_catalog_up": 1,
			`pg_reliability_probe_success{probe="write"}`:    1,
			`pg_reliability_volume_read_only{volume="data"}`: 0, `pg_reliability_volume_read_only{volume="backups"}`: 0,
			fmt.Sprintf("pg_reliability_container_memory_limit_bytes{container=%q}", container):        2 << 30,
			fmt.Sprintf("pg_reliability_container_health{container=%q,status=\"healthy\"}", container): 1,
		})
	})
	p, err := s.page()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{`pg_reliability_volume_size_bytes{volume="data"}`, `pg_reliability_volume_size_bytes{volume="backups"}`} {
		if _, ok := p[name]; !ok {
			t.Errorf("%s is absent", name)
		}
	}
	for what, want := range map[string]string{
		"SELECT count(*) > 5 FROM pg_tables WHERE schemaname = 'shop'": "t",
		"SHOW data_checksums":                        "on",
		"SELECT count(*) FROM reliability.heartbeat": "1",
		"SELECT bool_and(has_sequence_privilege('reliability_exporter', seqrelid, 'SELECT')) FROM pg_sequence": "t",
		"SELECT rolpassword IS NOT NULL FROM pg_authid WHERE rolname = 'shop_app'":                             "t",
	} {
		if got := s.mustSQL(what); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	out := s.run("exec", container, "psql", "-U", "postgres", "-d", "app", "-Atc", "SELECT count(*) > 0 FROM pg_stat_statements")
	if out != "t" {
		t.Errorf("pg_stat_statements: %s", out)
	}
	pgtest.Eventually(t, patience, func() error { return s.grafanaHasBoards(s.secret("grafana_password")) })
	if err := s.grafanaHasBoards("wrong"); err == nil {
		t.Error("Grafana takes any password")
	}
	if hasGrafana() {
		grafanaIsProvisioned(t, s)
	}
}

// nothingToShow are panels that are empty on a healthy server without a standby, by board and title.
var nothingToShow = map[string]string{
	"pgr-replication:":                            "there is no standby",
	"pgr-settings: MD5 passwords":                 "only a superuser may see them",
	"pgr-settings: Extensions behind":             "there may be none",
	"pgr-settings: Minor releases behind":         "unknown where the exporter's list of releases is too old, or the server is newer",
	"pgr-settings: Roles with a limit":            "no role has one",
	"pgr-statements: How long an execution takes": "the eight that take longest may not have run in the last two minutes",
	"pgr-pgbouncer:":                              "there is no PgBouncer",
	"pgr-patroni:":                                "there is no Patroni",
	"pgr-backups: Newest off-site copy":           "no off-site copies",
	"pgr-backups: Off-site copies":                "no off-site copies",
	"pgr-backups: Last failure":                   "no backup failed",
	"pgr-backups: Failed runs":                    "no backup failed",
	"pgr-capacity: Sequences":                     "no sequence was used",
	"pgr-overview: Sequences used":                "no sequence was used",
	"pgr-overview: Certificate ends in":           "no TLS within the machine",
	"pgr-backups: Failures by reason":             "no backup failed",
	"pgr-backups: Failed verifications":           "no backup failed",
	"pgr-backups: Automatic restore":              "nothing was restored yet",
	"pgr-backups: Time since WAL was archived":    "WAL is not archived",
	"pgr-backups: Room for more backups":          "needs the sizes of two backups",
	"pgr-capacity: Tables with the most dead":     "no rows were changed",
	"pgr-capacity: Largest tables":                "the tables are empty",
	"pgr-pipeline: Collectors' errors":            "no collector fails",
	"pgr-activity: What holds vacuum up":          "nothing does",
	"pgr-overview: Error budget":                  "recorded over days",
	"pgr-fleet: Error budget left, least first":   "recorded over days",
	"pgr-overview: Availability, 30 d":            "recorded over days",
	"pgr-io: Time in WAL":                         "track_wal_io_timing is off",
	"pgr-io: Read by":                             "the collector stat_io is off",
	"pgr-io: Written by":                          "the collector stat_io is off",
	"pgr-io: Time in the disk":                    "the collector stat_io is off",
	"pgr-sessions: Processes by what they wait":   "nobody waits",
	"pgr-sessions: Commands that run at length":   "none runs",
	"pgr-sessions: How long they have run":        "none runs",
	"pgr-tables: Empty space in":                  "the exporter's role may not read the statistics of the tables' columns",
	"pgr-tables: Redundant indexes":               "there are none",
	"pgr-tables: Partitioned tables":              "there are none",
	"pgr-overview: Firing alerts":                 "none may fire",
	"pgr-fleet: Firing alerts":                    "none may fire",
	"pgr-activity: Messages by severity":          "the engine's proxy lets nobody read a container's log",
	"pgr-activity: Temporary files in the log":    "the engine's proxy lets nobody read a container's log",
	"pgr-activity: What the log tells of":         "the engine's proxy lets nobody read a container's log",
	"pgr-pipeline: Server log":                    "the engine's proxy lets nobody read a container's log",
	"pgr-settings: Logins turned down":            "the engine's proxy lets nobody read a container's log",
}

// dashboardsHaveData asks Prometheus what the boards ask, with every server chosen; a real Grafana is asked in its place.
func dashboardsHaveData(t *testing.T, s *stack) {
	files, err := filepath.Glob(filepath.Join(s.root, "dashboards", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	asked := map[string][]query{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var b board
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if hasGrafana() {
			if b, err = s.grafanaOpens(b.UID); err != nil || len(b.Panels) == 0 {
				t.Fatalf("%s: %v", f, err)
			}
		}
		for _, p := range b.Panels {
			for _, target := range p.Targets {
				name := b.UID + ": " + p.Title
				asked[name] = append(asked[name], target)
			}
		}
	}
	p, err := s.page()
	if err != nil {
		t.Fatal(err)
	}
	unbroken := p.sum("pg_reliability_restarts_total") == 0 // when run alone
	empty := map[string]bool{}
	pgtest.Eventually(t, patience, func() error {
		// The boards leave the exporter's own statements out, and a server that was killed has forgotten all others.
		s.mustSQL("SELECT count(*) FROM pg_catalog.pg_class")
		var missing []string
		for _, name := range slices.Sorted(maps.Keys(asked)) {
			found, err := s.anyData(asked[name])
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if found {
				delete(asked, name)
				delete(empty, name)
				continue
			}
			empty[name] = true
			expected := unbroken && (name == "pgr-overview: Downtime by reason" || name == "pgr-overview: Restarts by kind" ||
				name == "pgr-overview: Outages")
			for prefix := range nothingToShow {
				expected = expected || strings.HasPrefix(name, prefix)
			}
			if !expected {
				missing = append(missing, name)
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("no data in %s", strings.Join(missing, "; "))
		}
		return nil
	})
	t.Logf("empty, as expected: %s", strings.Join(slices.Sorted(maps.Keys(empty)), "; "))
}

var (
	wholeRangeSeconds = regexp.MustCompile(`\$\{?__range_s\}?`)
	wholeRange        = regexp.MustCompile(`\$\{?__range\}?`)

	seconds  = regexp.MustCompile(`\$\{?__interval_s\}?`)
	builtins = regexp.MustCompile(`\$\{?__(rate_interval|interval)\}?`)
	variable = regexp.MustCompile(`\$\{[A-Za-z_]\w*(:\w+)?\}|\$[A-Za-z_]\w*`) // "$1" is a part of what was found, and stays
	ours     = regexp.MustCompile(`\$\{[a-z]\w*(:\w+)?\}|\$[a-z]\w*`)
	own      = regexp.MustCompile(`\$own\b`) // a number: the exporter's own statements are left out
)

// anyData says whether one of a panel's queries finds something: now, or in the last hour where the panel shows how something went. The
// statements with the most of something in that hour may all be of a server that was killed since, and so have nothing at its end.
func (s *stack) anyData(queries []query) (bool, error) {
	for _, q := range queries {
		q.Expr = own.ReplaceAllString(q.Expr, "1")
		var found bool
		var err error
		if hasGrafana() {
			q.Expr = ours.ReplaceAllString(q.Expr, ".*")
			found, err = s.grafanaQuery(q)
		} else {
			q.Expr = wholeRange.ReplaceAllString(wholeRangeSeconds.ReplaceAllString(q.Expr, "3600"), "1h") // a board's usual range
			q.Expr = variable.ReplaceAllString(builtins.ReplaceAllString(seconds.ReplaceAllString(q.Expr, "120"), "2m"), ".*")
			found, err = s.prometheusQuery(q)
		}
		if err != nil || found {
			return found, err
		}
	}
	return false, nil
}

// prometheusQuery asks Prometheus itself. The answer is whether there are any data.
func (s *stack) prometheusQuery(q query) (bool, error) {
	if !q.Range {
		result, err := s.query(q.Expr)
		return len(result) > 0, err
	}
	now := time.Now().Unix()
	var data struct{ Result []json.RawMessage }
	err := s.prometheus("query_range", url.Values{
		"query": {q.Expr}, "step": {"60"}, "start": {strconv.FormatInt(now-3600, 10)}, "end": {strconv.FormatInt(now, 10)},
	}, &data)
	return len(data.Result) > 0, err
}

// killed ends the main process of the database's container from outside, five times.
func killed(t *testing.T, s *stack) {
	const times = 5
	container := s.container("postgres")
	restartCount := fmt.Sprintf("pg_reliability_container_restart_count{container=%q}", container)
	s.mustSQL("CREATE TABLE public.killed (n int PRIMARY KEY)")
	before, err := s.page()
	if err != nil {
		t.Fatal(err)
	}
	var outages []string
	seen := before
	for n := range times {
		pid, err := strconv.Atoi(s.run("inspect", "--format", "{{.State.Pid}}", container))
		if err != nil || pid < 2 {
			t.Fatalf("the container's process is %d: %v", pid, err)
		}
		began := time.Now()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		pgtest.Eventually(t, patience, func() error {
			_, err := s.sql(fmt.Sprintf("INSERT INTO public.killed VALUES (%d) ON CONFLICT DO NOTHING", n))
			return err
		})
		took := time.Since(began)
		s.record(fmt.Sprintf("`kill -9` of the server's main process, %d of %d: until a row is committed", n+1, times), recoveryObjective, began)
		// The next one begins when the exporter has seen the end of this one.
		var now page
		pgtest.Eventually(t, patience, func() error {
			if now, err = s.page(); err != nil {
				return err
			}
			restarted := fmt.Sprintf(restarts, "restart")
			return now.has(map[string]float64{up: 1, "pg_reliability_outage_in_progress_seconds": 0, restarted: before[restarted] + float64(n+1)})
		})
		const downtime = "pg_reliability_downtime_seconds_total"
		probed := now.sum(downtime) - seen.sum(downtime)
		seen = now
		outages = append(outages, fmt.Sprintf("%.1f and %.1f s", took.Seconds(), probed))
		if math.Abs(probed-took.Seconds()) > clockTolerance {
			t.Errorf("the prober saw %.1f s of outage, the clock %.1f s", probed, took.Seconds())
		}
	}
	pgtest.Eventually(t, patience, func() error {
		return s.shows(map[string]float64{
			restartCount:                       before[restartCount] + times,
			fmt.Sprintf(restarts, "container"): before[fmt.Sprintf(restarts, "container")] + times,
		})
	})
	if got := s.mustSQL("SELECT count(*) FROM public.killed"); got != strconv.Itoa(times) {
		t.Errorf("%s rows were committed, want %d", got, times)
	}
	after, err := s.page()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("outages by the clock and by the prober: %s", strings.Join(outages, ", "))
	s.note("The outages of the five kills by the clock and by the exporter: %s; the container's restart count is %.0f",
		strings.Join(outages, ", "), after[restartCount])
	s.mustSQL("DROP TABLE public.killed")
}

// outOfMemory lets a query take more than the container may have: first the kernel ends the query's process, then, where
// that must not be, the server's.
func outOfMemory(t *testing.T, s *stack) {
	container := s.container("postgres")
	oomKilled := map[string]float64{fmt.Sprintf("pg_reliability_container_oom_killed{container=%q}", container): 1}
	before, err := s.page()
	if err != nil {
		t.Fatal(err)
	}
	// hog takes 6 GB in so many sessions at once, until the kernel has ended one of them.
	hog := func(sessions int) time.Time {
		failed := make(chan error, sessions)
		for range sessions {
			go func() {
				_, err := s.sql(fmt.Sprintf("DO $$ DECLARE a text[]; BEGIN FOR i IN 1..%d LOOP a[i] := repeat('x', 100000000); END LOOP; END $$",
					60/sessions))
				failed <- err
			}()
		}
		var killed time.Time
		for range sessions {
			if err := <-failed; err != nil && killed.IsZero() {
				killed = time.Now()
			}
		}
		if killed.IsZero() {
			t.Fatal("queries took 6 GB in a container of 2 GB")
		}
		return killed
	}
	recovered := func(what string, killed time.Time) {
		pgtest.Eventually(t, patience, func() error {
			_, err := s.sql("CREATE TABLE IF NOT EXISTS public.after_oom ()")
			return err
		})
		s.record(what, recoveryObjective, killed)
	}
	killed := hog(1)
	recovered("Out of memory, a query's process killed by the kernel: until a write is committed", killed)
	pgtest.Eventually(t, patience, func() error {
		p, err := s.page()
		if err != nil {
			return err
		}
		if n := p[fmt.Sprintf(restarts, "crash")] - before[fmt.Sprintf(restarts, "crash")]; n != 1 {
			return fmt.Errorf("%v crashes, want 1", n)
		}
		return p.has(map[string]float64{up: 1, fmt.Sprintf(restarts, "container"): before[fmt.Sprintf(restarts, "container")]})
	})

	// Engines before 23.0 tell of a kill for want of memory only when the container ends, and not always then.
	began := time.Now()
	for try := 1; s.shows(oomKilled) != nil; try++ {
		if try > 5 {
			t.Fatalf("five kills for want of memory: %v", s.shows(oomKilled))
		}
		pid := s.run("inspect", "--format", "{{.State.Pid}}", container)
		if err := os.WriteFile("/proc/"+pid+"/oom_score_adj", []byte("1000"), 0o600); err != nil {
			t.Fatal(err)
		}
		began = hog(10) // each of them is smaller than what the server's main process now counts as
		recovered("Out of memory, the server's main process killed: until a write is committed", began)
		for asked := time.Now(); s.shows(oomKilled) != nil && time.Since(asked) < 15*time.Second; time.Sleep(500 * time.Millisecond) {
		}
	}
	pgtest.Eventually(t, patience, func() error { return s.firing("PostgresContainerOOMKilled") })
	s.record("Out of memory: until Alertmanager has `PostgresContainerOOMKilled`", 0, began)
	s.mustSQL("DROP TABLE public.after_oom")
}

// rows counts what is in each table of the sample schema.
func (s *stack) rows() (map[string]int, error) {
	counts, err := s.sql(`SELECT string_agg(format('SELECT %L, count(*) FROM shop.%I', table_name, table_name), ' UNION ALL ')
		FROM information_schema.tables WHERE table_schema = 'shop' AND table_type = 'BASE TABLE'`)
	if err != nil {
		return nil, err
	}
	out, err := s.sql(counts)
	if err != nil {
		return nil, err
	}
	rows := map[string]int{}
	for line := range strings.Lines(out) {
		name, n, _ := strings.Cut(strings.TrimSpace(line), "|")
		if rows[name], err = strconv.Atoi(n); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
	}
	return rows, nil
}

// backup makes one now, and returns its id.
func (s *stack) backup() string {
	s.t.Helper()
	s.mustCompose("exec", "-T", "backup", "pg_reliability_backup", "run", "--verify", "--scratch-dir=/scratch")
	return slices.Max(s.backups())
}

// loseTheVolume is the disaster: the data are gone, and what is left is the compose file and the backups.
func (s *stack) loseTheVolume(what string, want map[string]int) {
	s.t.Helper()
	s.mustCompose("down")
	s.run("volume", "rm", s.project+"_postgres-data")
	began := time.Now()
	s.mustCompose("up", "--detach")
	got, err := s.rows()
	if err != nil {
		s.t.Fatal(err)
	}
	s.record(what, restoreObjective, began)
	if !maps.Equal(got, want) {
		s.t.Errorf("rows after the restore %v, want those of the backup %v", got, want)
	}
	pgtest.Eventually(s.t, patience, s.unhealthy)
}

func volumeLost(t *testing.T, s *stack) {
	s.mustSQL("TRUNCATE shop.customers RESTART IDENTITY CASCADE") // what demo-load wrote: the sample data begin from nothing
	data, err := os.ReadFile(filepath.Join(s.root, "deploy/sql/sample_data.sql"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := s.pipe(string(data), "exec", "-i", s.container("postgres"), "psql", "-U", "postgres", "-d", "app", "-q", "-v",
		"ON_ERROR_STOP=1"); err != nil {
		t.Fatalf("load the sample data: %v: %s", err, out)
	}
	older, err := s.rows()
	if err != nil {
		t.Fatal(err)
	}
	s.backup()
	s.mustSQL("INSERT INTO shop.categories (name) VALUES ('after the backup')")
	diskTooSmall(t, s)
	s.loseTheVolume("`down`, data volume removed, `up -d`: until the last backup's rows are there and applications may start", older)

	s.mustSQL("INSERT INTO shop.categories (name) VALUES ('in the newest backup')")
	newest := s.backup()
	damage(t, s, newest)
	s.loseTheVolume("The same with the newest backup damaged: until the one before it is there", older)
	pgtest.Eventually(t, patience, func() error {
		return s.shows(map[string]float64{`pg_reliability_backup_auto_restore_total{result="success"}`: 2,
			"pg_reliability_backup_auto_restore_fell_back": 1})
	})
	if logs := s.run("logs", s.container("bootstrap")); !strings.Contains(logs, newest) || !strings.Contains(logs, "OLDER") {
		t.Errorf("the log does not say that %s was unusable: %s", newest, tail(logs, 2000))
	}
}

// diskTooSmall loses the volume, and the new one has no room for the restore: it is not begun, for the server would end with
// its last byte.
func diskTooSmall(t *testing.T, s *stack) {
	s.mustCompose("down")
	volume := s.project + "_postgres-data"
	s.run("volume", "rm", volume)
	s.run("volume", "create", "--driver", "local", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=160m,mode=1777", volume)
	if out, err := s.compose("up", "--detach", "bootstrap"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pgtest.Eventually(t, patience, func() error {
		if logs := s.run("logs", s.container("bootstrap")); !strings.Contains(logs, "the server's disk (/var/lib/postgresql/pgdata) has") {
			return fmt.Errorf("bootstrap says nothing of the disk: %s", tail(logs, 2000))
		}
		return nil
	})
	if n := s.run("inspect", "--format", "{{.RestartCount}}", s.container("postgres")); n != "0" {
		t.Errorf("the server ended %s times", n)
	}
}

// damage changes one byte in the middle of a backup's largest file.
func damage(t *testing.T, s *stack, id string) {
	t.Helper()
	volume := s.run("volume", "inspect", "--format", "{{.Mountpoint}}", s.project+"_backups")
	var largest string
	var size int64
	err := filepath.Walk(volume, func(path string, info os.FileInfo, err error) error {
		if err == nil && strings.Contains(path, id) && info.Mode().IsRegular() && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	})
	if err != nil || largest == "" {
		t.Fatalf("no file of backup %s below %s: %v", id, volume, err)
	}
	f, err := os.OpenFile(largest, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, size/2); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{b[0] ^ 0xff}, size/2); err != nil {
		t.Fatal(err)
	}
}

// networkCut takes the exporter off the database's network for a while.
func networkCut(t *testing.T, s *stack) {
	exporter, network := s.container("exporter"), s.project+"_database"
	s.run("network", "disconnect", network, exporter)
	began := time.Now()
	pgtest.Eventually(t, patience, func() error { return s.shows(map[string]float64{up: 0}) })
	s.record("Network between exporter and server cut: until the exporter says so", 0, began)
	s.run("network", "connect", "--alias", "exporter", network, exporter)
	began = time.Now()
	pgtest.Eventually(t, patience, func() error {
		return s.shows(map[string]float64{up: 1, "pg_reliability_outage_in_progress_seconds": 0})
	})
	s.record("Network healed: until the exporter says so", recoveryObjective, began)
}

// engineRestarted stops the engine as a reboot does, and looks whether everything comes back by itself.
func engineRestarted(t *testing.T, s *stack) {
	before, err := s.rows()
	if err != nil {
		t.Fatal(err)
	}
	s.stop()
	began := time.Now()
	s.start()
	pgtest.Eventually(t, patience, func() error {
		_, err := s.sql("CREATE TABLE IF NOT EXISTS public.after_restart ()")
		return err
	})
	s.record("Engine restarted: from its start until a write is committed", recoveryObjective, began)
	pgtest.Eventually(t, 3*time.Minute, s.unhealthy)
	pgtest.Eventually(t, patience, s.targets)
	s.record("Engine restarted: until everything is healthy and every target up", 0, began)
	s.mustSQL("DROP TABLE public.after_restart")
	if got, err := s.rows(); err != nil || !maps.Equal(got, before) {
		t.Errorf("rows after the engine's restart %v (%v), want %v", got, err, before)
	}
}

// manual is what a person does.
func manual(t *testing.T, s *stack) {
	began := time.Now()
	s.mustCompose("restart", "postgres")
	pgtest.Eventually(t, patience, func() error {
		_, err := s.sql("SELECT pg_current_xact_id()")
		return err
	})
	s.record("`docker compose restart postgres`: until a transaction is written", recoveryObjective, began)

	if out, err := output(exec.Command("kill", "-STOP", s.run("inspect", "--format", "{{.State.Pid}}", s.container("postgres")))); err != nil {
		t.Fatalf("make the server hang: %v: %s", err, out)
	}
	began = time.Now()
	s.mustCompose("restart", "--timeout", "10", "postgres")
	pgtest.Eventually(t, patience, func() error {
		_, err := s.sql("SELECT pg_current_xact_id()")
		return err
	})
	s.record("`docker compose restart --timeout 10 postgres` of a server that hangs: until a transaction is written", recoveryObjective, began)
}

// frozen stops all processes of the server, and nobody does anything.
func frozen(t *testing.T, s *stack) {
	const done = `pg_reliability_watchdog_restarts_total{result="done"}`
	if err := s.shows(map[string]float64{done: 0, "pg_reliability_watchdog_armed": 1}); err != nil { // also not in what was done before
		t.Error(err)
	}
	was := s.run("inspect", "--format", "{{.State.StartedAt}}", s.container("postgres"))
	for _, pid := range strings.Fields(s.run("top", s.container("postgres"), "-o", "pid"))[1:] {
		if out, err := output(exec.Command("kill", "-STOP", pid)); err != nil {
			t.Logf("process %s can't be stopped, it has ended perhaps: %v: %s", pid, err, out)
		}
	}
	began := time.Now()
	pgtest.Eventually(t, patience, func() error {
		if now := s.run("inspect", "--format", "{{.State.StartedAt}}", s.container("postgres")); now == was {
			return errors.New("the container was not started again")
		}
		_, err := s.sql("SELECT pg_current_xact_id()")
		return err
	})
	s.record("All processes of the server frozen (SIGSTOP): until the watchdog had it restarted and a transaction is written",
		watchdogObjective, began)
	pgtest.Eventually(t, patience, func() error { return s.shows(map[string]float64{done: 1, up: 1}) })
	pgtest.Eventually(t, patience, s.unhealthy)
}

// isolated looks from where an intruder would.
func isolated(t *testing.T, s *stack) {
	confined(t, s, append(slices.Clone(services), "bootstrap")...)
	database := s.run("inspect", "--format", "{{(index .NetworkSettings.Networks \""+s.project+"_database\").IPAddress}}",
		s.container("postgres"))
	// wget says "bad address" or times out; a server that could be reached would cut the connection at once.
	reach := func(container, host string, port int) bool {
		_, err := s.try("exec", container, "busybox", "nc", "-w", "2", host, strconv.Itoa(port))
		return err == nil
	}
	for _, service := range []string{"prometheus", "alertmanager", "grafana", "docker-socket-proxy"} {
		for _, host := range []string{"postgres", database} {
			if reach(s.container(service), host, 5432) {
				t.Errorf("the server can be reached from %s as %s", service, host)
			}
		}
	}
	if !reach(s.container("backup"), "postgres", 5432) {
		t.Error("the backup job can't reach the server: the check above proves nothing")
	}
	if out, err := s.try("run", "--rm", "--network", s.project+"_monitoring", "--entrypoint", "busybox", "standin/debian", "nc", "-w", "2",
		database, "5432"); err == nil {
		t.Errorf("the server can be reached from a stranger on the monitoring network: %s", out)
	}
	for _, service := range []string{"prometheus", "backup", "grafana"} {
		if reach(s.container(service), "docker-socket-proxy", 2375) {
			t.Errorf("the engine's proxy can be reached from %s", service)
		}
	}
	socketProxyRefuses(t, s)

	if open := s.openPorts(); !slices.Equal(open, []string{"127.0.0.1:3000"}) {
		t.Errorf("open on the host: %v, want Grafana's 127.0.0.1:3000 alone", open)
	}
	noSecrets(t, s)
	caged(t, s)
}

// confined says of each service's container what docs/compose.md says of every container.
func confined(t *testing.T, s *stack, services ...string) {
	t.Helper()
	for _, service := range services {
		var list []struct {
			Config     struct{ User string }
			HostConfig struct {
				Privileged, ReadonlyRootfs  bool
				CapDrop, SecurityOpt        []string
				Memory, NanoCpus, PidsLimit int64
				LogConfig                   struct{ Config map[string]string }
			}
		}
		s.inspect(s.container(service), &list)
		c := list[0].HostConfig
		if c.Privileged || !c.ReadonlyRootfs || !slices.Equal(c.CapDrop, []string{"ALL"}) ||
			!slices.Contains(c.SecurityOpt, "no-new-privileges:true") ||
			c.Memory == 0 || c.NanoCpus == 0 || c.PidsLimit == 0 || c.LogConfig.Config["max-size"] != "10m" ||
			c.LogConfig.Config["max-file"] != "5" {
			t.Errorf("%s is not confined: %+v", service, c)
		}
		if user, _, _ := strings.Cut(list[0].Config.User, ":"); user == "" || user == "0" || user == "root" {
			t.Errorf("%s runs as %q", service, user)
		}
	}
}

// openPorts are the addresses that somebody listens on, on the engine's host.
func (s *stack) openPorts() []string {
	s.t.Helper()
	out, err := output(nsenter(s.engine, "ss", "-Hltn"))
	if err != nil {
		s.t.Fatalf("list the host's open ports: %v: %s", err, out)
	}
	var open []string
	for line := range strings.Lines(out) {
		address := strings.Fields(line)[3]
		if !strings.HasPrefix(address, "127.0.0.11:") {
			open = append(open, address)
		}
	}
	slices.Sort(open)
	return open
}

// socketProxyRefuses asks the engine's proxy for what is none of the exporter's business, from beside the exporter.
func socketProxyRefuses(t *testing.T, s *stack) {
	ask := func(request string) string {
		out, _ := s.pipe(request+" HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n", "run", "--rm", "-i", "--network", s.project+"_engine",
			"--entrypoint", "busybox", "standin/debian", "nc", "-w", "5", "docker-socket-proxy", "2375")
		status, _, _ := strings.Cut(out, "\r\n")
		return status
	}
	postgres := s.container("postgres")
	for request, want := range map[string]string{
		"GET /containers/" + postgres + "/json":                     "200",
		"GET /v1.41/containers/" + postgres + "/json":               "200",
		"GET /containers/" + postgres + "/json?size=1":              "403",
		"GET /containers/" + s.container("grafana") + "/json":       "403",
		"GET /containers/json":                                      "403",
		"GET /containers/" + postgres + "/logs":                     "403",
		"POST /containers/" + postgres + "/json":                    "403",
		"POST /containers/" + postgres + "/stop":                    "403",
		"DELETE /containers/" + postgres:                            "403",
		"GET /v1.41/containers/" + postgres + "/json/../../../info": "403",
		"GET /v1.41/containers/x/../" + postgres + "/json":          "403",
		"GET /info":   "403",
		"GET /events": "403",
		"POST /containers/" + postgres + "/restart?t=0":               "403",
		"POST /containers/" + postgres + "/restart?t=3":               "403", // without a length
		"GET /containers/" + postgres + "/restart?t=3":                "403",
		"POST /containers/" + s.container("grafana") + "/restart?t=3": "403",
	} {
		if got := ask(request); !strings.Contains(got, " "+want+" ") {
			t.Errorf("%s: %q, want %s", request, got, want)
		}
	}
}

// noSecrets looks for the passwords where they must not be.
func noSecrets(t *testing.T, s *stack) {
	files, err := filepath.Glob(filepath.Join(s.secrets, "*_password"))
	if err != nil || len(files) < 6 {
		t.Fatalf("secrets: %v %v", files, err)
	}
	places := map[string]string{}
	ids := strings.Fields(s.run("ps", "--all", "--quiet"))
	for _, id := range ids {
		places["docker inspect "+id] = s.run("inspect", id)
		places["docker logs "+id] = s.run("logs", id)
		if out, err := s.try("top", id, "-eo", "pid,args"); err == nil {
			places["docker top "+id] = out
		}
	}
	for _, image := range strings.Fields(s.run("images", "--quiet")) {
		places["image "+image] = s.run("image", "inspect", image) + s.run("history", "--no-trunc", image)
	}
	places["pg_stat_statements"] = s.run("exec", s.container("postgres"), "psql", "-U", "postgres", "-d", "app", "-Atc",
		"SELECT query FROM pg_stat_statements")
	if page, err := s.try("exec", s.container("prometheus"), "wget", "-q", "-O", "-", "http://exporter:9187/metrics"); err == nil {
		places["/metrics"] = page
	}
	for _, f := range files {
		secret, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for place, text := range places {
			if strings.Contains(text, string(secret)) {
				t.Errorf("%s is in %s", filepath.Base(f), place)
			}
		}
	}
	if len(ids) < len(services) {
		t.Error(errors.New("fewer containers than services were looked at"))
	}
}
