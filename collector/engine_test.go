package collector_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

// theProber says what a prober would; the real one has tests of its own.
type theProber struct {
	now atomic.Pointer[probe.Snapshot]
}

func (p *theProber) Snapshot() probe.Snapshot { return *p.now.Load() }

func (p *theProber) says(reason postgres.Reason, role probe.Role) {
	p.now.Store(&probe.Snapshot{
		Probes: map[probe.Kind]probe.Result{probe.Read: {At: time.Now(), Reason: reason}},
		Server: probe.Server{Role: role},
	})
}

type bench struct {
	engine *collector.Engine
	prober *theProber
	pool   *postgres.Pool
	proxy  *pgtest.Proxy
}

// start runs an engine with collectors of the given YAML on a cluster, through a proxy.
func start(t *testing.T, c *pgtest.Cluster, yaml string, sources ...collector.ScheduledSource) *bench {
	t.Helper()
	return startWithin(t, c, nil, yaml, sources...)
}

// startWithin is start within a budget.
func startWithin(t *testing.T, c *pgtest.Cluster, budget *metric.Budget, yaml string, sources ...collector.ScheduledSource) *bench {
	t.Helper()
	b := &bench{prober: &theProber{}, proxy: pgtest.NewProxy(t, c)}
	b.prober.says(postgres.OK, probe.Primary)
	connector, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: b.proxy.DSN(c.MonitorDSN()), Settings: postgres.Settings{
		ApplicationName: "pg_reliability_exporter", StatementTimeout: time.Second, LockTimeout: 250 * time.Millisecond,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if b.pool, err = postgres.NewPool(
		postgres.PoolOptions{Connector: connector, Min: 1, Max: 4, Apart: 2, Logger: log.NewNopLogger()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.pool.Close)
	b.engine = collector.New(collector.Options{Pool: b.pool, Prober: b.prober, Logger: log.NewNopLogger(), Definitions: define(t, yaml),
		Sources: sources, Budget: budget})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { b.engine.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	pgtest.Eventually(t, 20*time.Second, func() error {
		if idle, _ := b.pool.Open(); idle == 0 {
			return errors.New("the pool has no connection")
		}
		return nil
	})
	return b
}

func define(t *testing.T, yaml string) []definition.Definition {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "test.yml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	defs, err := definition.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return defs
}

// scrape is one page within a budget, as name{label="value"} to value.
func (b *bench) scrape(t *testing.T, budget time.Duration) map[string]float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), budget)
	defer cancel()
	started := time.Now()
	page := flatten(b.engine.Gather(ctx, collector.Selection{}))
	if took := time.Since(started); took > budget {
		t.Errorf("the scrape took %s, longer than its budget %s", took, budget)
	}
	return page
}

func flatten(families []*metric.Family) map[string]float64 {
	page := map[string]float64{}
	for _, f := range metric.DTO(families) {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			name := f.GetName()
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			page[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetUntyped().GetValue()
		}
	}
	return page
}

// want fails unless the page has each sample with its value; an absent one is written as -1.
func want(t *testing.T, page map[string]float64, samples map[string]float64) {
	t.Helper()
	if err := check(page, samples); err != nil {
		t.Error(err)
	}
}

func check(page, samples map[string]float64) error {
	var errs []error
	for name, v := range samples {
		got, ok := page[name]
		if !ok {
			got = -1
		}
		if got != v {
			errs = append(errs, fmt.Errorf("%s = %v, want %v", name, got, v))
		}
	}
	return errors.Join(errs...)
}

// one collector with one query; refresh is "live" or an interval.
func one(name, refresh, sql string) string {
	return fmt.Sprintf(`
- name: %[1]s
  help: For a test.
  scope: cluster
  refresh: %[2]s
  queries:
    - sql: |
        %[3]s
  metrics:
    - {name: test_%[1]s, column: v, type: gauge, help: For a test.}
`, name, refresh, sql)
}

func TestAFailingCollectorCostsItselfAlone(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	b := start(t, c, one("good", "live", "SELECT 7 AS v")+one("bad", "live", "SELECT 1/0 AS v")+
		one("denied", "live", "SELECT count(*) AS v FROM pg_authid")+one("sleepy", "live", "SELECT 1 AS v FROM pg_sleep(5)")+
		one("empty", "live", "SELECT NULL::int AS v")+
		`
- name: misspelt
  help: Asks for a column that is not there.
  scope: cluster
  refresh: live
  queries:
    - sql: SELECT 1 AS there
  metrics:
    - {name: test_there, column: there, type: gauge, help: For a test.}
    - {name: test_misspelt, column: their, type: gauge, help: For a test.}
- name: odd
  help: Rows that can't be shown.
  scope: cluster
  refresh: live
  queries:
    - sql: SELECT * FROM (VALUES ('a', '1'), ('a', '2'), ('b', 'three'), ('c', '4')) AS rows (l, v)
  metrics:
    - {name: test_odd, column: v, type: gauge, labels: [l], help: For a test.}
`)
	want(t, b.scrape(t, 8*time.Second), map[string]float64{
		"test_good":                     7,
		"test_empty":                    -1,
		"pg_exporter_last_scrape_error": 1,
		`pg_reliability_collector_success{collector="empty"}`:                           1,
		`pg_reliability_collector_success{collector="good"}`:                            1,
		`pg_reliability_collector_success{collector="bad"}`:                             0,
		`pg_reliability_collector_errors_total{collector="bad",reason="query"}`:         1,
		`pg_reliability_collector_errors_total{collector="denied",reason="permission"}`: 1,
		`pg_reliability_collector_errors_total{collector="sleepy",reason="timeout"}`:    1,
		"test_there": 1,
		`pg_reliability_collector_success{collector="misspelt"}`:                         0,
		`pg_reliability_collector_errors_total{collector="misspelt",reason="malformed"}`: 1,
		`test_odd{l="a"}`: 1,
		`test_odd{l="b"}`: -1,
		`test_odd{l="c"}`: 4,
		`pg_reliability_collector_errors_total{collector="odd",reason="duplicate"}`: 1,
		`pg_reliability_collector_errors_total{collector="odd",reason="malformed"}`: 1,
	})
}

func TestAllLiveQueriesAreOneRoundTrip(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	defs := ""
	for i := range 24 {
		defs += one(fmt.Sprintf("c%d", i), "live", fmt.Sprintf("SELECT %d AS v", i))
	}
	b := start(t, c, defs)
	b.scrape(t, time.Second) // the first one on a connection prepares
	b.proxy.Delay(50 * time.Millisecond)
	pgtest.Eventually(t, 20*time.Second, func() error { // past the time in which scrapes share a collection
		before := time.Now()
		page := b.scrape(t, time.Second)
		took := time.Since(before)
		if err := check(page, map[string]float64{"test_c0": 0, "test_c23": 23}); err != nil || took < 50*time.Millisecond {
			return fmt.Errorf("took %s: %w", took, err)
		}
		if took > 190*time.Millisecond { // two round trips are 200 ms
			t.Errorf("a scrape over a network of 100 ms took %s", took)
		}
		return nil
	})
}

func TestCachedRowsAreRefreshedInTheBackground(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	b := start(t, c, one("counted", "1s", "SELECT extract(epoch FROM now()) AS v")+one("slow", "2s", "SELECT 5 AS v FROM pg_sleep(1.5)"))
	var first float64
	pgtest.Eventually(t, 10*time.Second, func() error {
		page := b.scrape(t, 100*time.Millisecond)
		first = page["test_counted"]
		return check(page, map[string]float64{"test_slow": 5, `pg_reliability_collector_success{collector="counted"}`: 1})
	})
	pgtest.Eventually(t, 10*time.Second, func() error {
		page := b.scrape(t, 100*time.Millisecond)
		if page["test_counted"] <= first {
			return errors.New("not refreshed")
		}
		return nil
	})
	if age := b.scrape(t, time.Second)[`pg_reliability_collector_data_age_seconds{collector="slow"}`]; age <= 0 || age > 10 {
		t.Errorf("the age of cached rows is %v", age)
	}
}

func TestAServerThatIsKnownToBeDownIsNotAsked(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	b := start(t, c, one("live", "live", "SELECT 1 AS v")+one("kept", "1s", "SELECT 2 AS v"))
	pgtest.Eventually(t, 20*time.Second, func() error {
		return check(b.scrape(t, time.Second), map[string]float64{"test_live": 1, "test_kept": 2})
	})

	// A scrape under way when the server freezes ends as soon as the prober notices.
	c.Pause()
	defer c.Resume()
	go func() {
		for _, lent := b.pool.Open(); lent == 0; _, lent = b.pool.Open() { // until a pipeline is under way
			time.Sleep(time.Millisecond)
		}
		b.prober.says(postgres.Timeout, probe.Primary)
	}()
	pgtest.Eventually(t, 20*time.Second, func() error { // the first may still share the collection before
		started := time.Now()
		page := b.scrape(t, pgtest.Patience(10*time.Second))
		if took := time.Since(started); took > time.Second {
			t.Errorf("the scrape waited %s for a server that is known to be down", took)
		}
		return check(page, map[string]float64{"test_live": -1, "test_kept": 2})
	})
	for range 20 {
		want(t, b.scrape(t, 100*time.Millisecond), map[string]float64{
			"test_live": -1, "test_kept": 2, // old, and its age says so
			`pg_reliability_collector_success{collector="live"}`: 0,
		})
	}
	if idle, lent := b.pool.Open(); idle+lent > 2 {
		t.Errorf("%d connections, the pool's bound is 2 besides the prober's", idle+lent)
	}
}

func TestScrapesAtOnceAreOneCollection(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	b := start(t, c, one("live", "live", "SELECT 1 AS v FROM pg_sleep(0.2)"))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { want(t, b.scrape(t, pgtest.Patience(5*time.Second)), map[string]float64{"test_live": 1}) })
	}
	all.Wait()
	pgtest.Eventually(t, time.Second, func() error {
		return check(b.scrape(t, time.Second), map[string]float64{"pg_reliability_collections_total": 1,
			"pg_reliability_collections_shared_total": 20})
	})
}

func TestCollectorsThatDoNotApplyAreSkippedVisibly(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	b := start(t, c, `
- name: future
  help: For a server that does not exist yet.
  scope: cluster
  refresh: live
  queries:
    - {versions: ">=99", sql: SELECT 1 AS v}
  metrics:
    - {name: test_future, column: v, type: gauge, help: For a test.}
- name: standby
  help: For standbys.
  scope: cluster
  refresh: live
  requires: {role: standby}
  queries:
    - {sql: SELECT 1 AS v}
  metrics:
    - {name: test_standby, column: v, type: gauge, help: For a test.}
- name: statements
  help: For an extension.
  scope: cluster
  refresh: live
  requires: {extension: pg_trgm}
  queries:
    - {sql: SELECT 1 AS v}
  metrics:
    - {name: test_extension, column: v, type: gauge, help: For a test.}
`)
	want(t, b.scrape(t, time.Second), map[string]float64{
		"test_future": -1, "test_standby": -1, "test_extension": -1,
		`pg_reliability_collector_skipped{collector="future",reason="version"}`:       1,
		`pg_reliability_collector_skipped{collector="standby",reason="role"}`:         1,
		`pg_reliability_collector_skipped{collector="statements",reason="extension"}`: 1,
	})
	b.prober.says(postgres.OK, probe.Standby)
	pgtest.Eventually(t, time.Second, func() error { return check(b.scrape(t, time.Second), map[string]float64{"test_standby": 1}) })
}

// The engine finds the extension where it is, also after it was moved, and by a role that may not read pg_settings.
func TestAnExtensionIsFoundInItsSchema(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	err := c.Exec(t.Context(), "CREATE SCHEMA \"odd \"\"schema\"", "GRANT USAGE ON SCHEMA \"odd \"\"schema\" TO "+pgtest.Monitor,
		"CREATE EXTENSION citext SCHEMA \"odd \"\"schema\" VERSION '1.4'", "REVOKE SELECT ON pg_settings FROM public")
	if err != nil {
		t.Fatal(err)
	}
	file := func(name, version string) string {
		return fmt.Sprintf(`
- name: %s
  help: For a test.
  refresh: live
  requires: {extension: citext, extension_version: %q}
  queries:
    - {sql: "SELECT length('abc'::@extschema@.citext::text) AS v"}
  metrics:
    - {name: test_%[1]s, column: v, type: gauge, help: For a test.}
`, name, version)
	}
	b := start(t, c, file("here", "1.4")+file("newer", "1.10"))
	pgtest.Eventually(t, 10*time.Second, func() error {
		return check(b.scrape(t, pgtest.Patience(5*time.Second)), map[string]float64{
			"test_here": 3, "test_newer": -1, `pg_reliability_collector_skipped{collector="newer",reason="extension"}`: 1,
		})
	})
}

// Collectors that come with a reload have what they need asked for at once, not when it is next read at any rate.
func TestAReloadedCollectorFindsItsExtension(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	if err := c.Exec(t.Context(), "CREATE EXTENSION citext"); err != nil {
		t.Fatal(err)
	}
	b := start(t, c, one("before", "1s", "SELECT 1 AS v"))
	pgtest.Eventually(t, 20*time.Second, func() error {
		return check(b.scrape(t, pgtest.Patience(5*time.Second)), map[string]float64{"test_before": 1})
	})
	reloaded := time.Now()
	b.engine.SetDefinitions(define(t, strings.Replace(one("reloaded", "1s", "SELECT 2 AS v"), "queries:",
		"requires: {extension: citext}\n  queries:", 1)))
	pgtest.Eventually(t, 20*time.Second, func() error {
		return check(b.scrape(t, pgtest.Patience(5*time.Second)), map[string]float64{"test_reloaded": 2})
	})
	if took := time.Since(reloaded); took > 40*time.Second { // what is installed is read once a minute at any rate
		t.Errorf("its first sample came %s after the reload", took)
	}
}

func TestALiveCollectorThatStaysSlowMovesToTheBackground(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	b := start(t, c, one("quick", "live", "SELECT 1 AS v")+one("lame", "live", "SELECT 3 AS v FROM pg_sleep(0.3)"))
	pgtest.Eventually(t, 10*time.Second, func() error {
		return check(b.scrape(t, pgtest.Patience(5*time.Second)), map[string]float64{`pg_reliability_collector_demoted{collector="lame"}`: 1})
	})
	pgtest.Eventually(t, 20*time.Second, func() error {
		return check(b.scrape(t, 200*time.Millisecond), map[string]float64{"test_lame": 3, "test_quick": 1})
	})
}

func TestNobodyWaitsBehindAUsersLock(t *testing.T) {
	ctx := t.Context()
	c := pgtest.New(t, pgtest.Options{})
	if err := c.Exec(ctx, "CREATE TABLE locked ()", "GRANT SELECT ON locked TO PUBLIC"); err != nil {
		t.Fatal(err)
	}
	holder, err := c.Connect(ctx, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close(ctx)
	if _, err := holder.Exec(ctx, "BEGIN; LOCK TABLE locked", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	b := start(t, c, one("first", "live", "SELECT 1 AS v")+one("reader", "live", "SELECT count(*) AS v FROM public.locked")+
		one("last", "live", "SELECT 2 AS v"))
	want(t, b.scrape(t, time.Second), map[string]float64{
		"test_first": 1, "test_last": 2, "test_reader": -1,
		`pg_reliability_collector_errors_total{collector="reader",reason="lock_timeout"}`: 1,
	})
}

// hung does not answer, whatever its context says, as statfs on a dead mount.
type hung struct{ end chan struct{} }

func (hung) Name() string                                  { return "hung" }
func (hung) Help() string                                  { return "For a test." }
func (h hung) Collect(context.Context, *metric.Sink) error { <-h.end; return nil }

func TestASourceThatHangsBlocksNoScrape(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	b := start(t, c, one("live", "live", "SELECT 1 AS v"))
	mount := hung{make(chan struct{})}
	// An engine of its own, whose Run ends before such a source does.
	e := collector.New(collector.Options{Pool: b.pool, Prober: b.prober, Logger: log.NewNopLogger(),
		Definitions: define(t, one("live", "live", "SELECT 1 AS v")),
		Sources:     []collector.ScheduledSource{{Source: mount, Interval: 100 * time.Millisecond}}})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { e.Run(ctx) })
	defer func() {
		cancel()
		running.Wait()
		close(mount.end)
	}()
	pgtest.Eventually(t, 10*time.Second, func() error {
		started := time.Now()
		page := flatten(e.Gather(t.Context(), collector.Selection{}))
		if took := time.Since(started); took > pgtest.Patience(500*time.Millisecond) {
			t.Errorf("a scrape took %s", took)
		}
		return check(page, map[string]float64{
			"test_live": 1, `pg_reliability_collector_success{collector="hung"}`: 0,
			`pg_reliability_collector_errors_total{collector="hung",reason="timeout"}`: 1,
		})
	})
}

// down is a source of a server whose read probe fails.
type down struct{}

func (down) Name() string { return "down" }
func (down) Help() string { return "nothing" }
func (down) Collect(context.Context, *metric.Sink) error {
	return &postgres.Failure{Reason: postgres.Refused, Err: probe.ErrDown}
}

// What the prober has logged already, that the server is down, each source said once more.
func TestASourceOfAServerThatIsDownSaysNothing(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	b := start(t, c, one("live", "live", "SELECT 1 AS v"))
	var said pgtest.Buffer
	e := collector.New(collector.Options{Pool: b.pool, Prober: b.prober, Logger: log.NewLogfmtLogger(&said),
		Definitions: define(t, one("live", "live", "SELECT 1 AS v")),
		Sources:     []collector.ScheduledSource{{Source: down{}, Interval: 100 * time.Millisecond}}})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { e.Run(ctx) })
	pgtest.Eventually(t, 10*time.Second, func() error {
		page := flatten(e.Gather(t.Context(), collector.Selection{}))
		if page[`pg_reliability_collector_errors_total{collector="down",reason="refused"}`] < 1 {
			return errors.New("it was not read yet")
		}
		return check(page, map[string]float64{`pg_reliability_collector_success{collector="down"}`: 0})
	})
	cancel()
	running.Wait()
	if strings.Contains(said.String(), "collector fails") {
		t.Error(said.String())
	}
}

func TestSelection(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	b := start(t, c, one("a", "live", "SELECT 1 AS v")+one("b", "live", "SELECT 2 AS v"))
	for _, tc := range []struct {
		include, exclude []string
		want             map[string]float64
	}{
		{nil, nil, map[string]float64{"test_a": 1, "test_b": 2}},
		{[]string{"a"}, nil, map[string]float64{"test_a": 1, "test_b": -1, `pg_reliability_collector_success{collector="b"}`: -1}},
		{nil, []string{"a"}, map[string]float64{"test_a": -1, "test_b": 2}},
	} {
		sel, err := b.engine.Select(tc.include, tc.exclude)
		if err != nil {
			t.Fatal(err)
		}
		want(t, flatten(b.engine.Gather(t.Context(), sel)), tc.want)
	}
	if _, err := b.engine.Select([]string{"c"}, nil); err == nil || !strings.Contains(err.Error(), "pg_reliability_collector_success has") {
		t.Errorf("err = %v, want where the names are", err)
	}
}

func TestOtherDefinitionsKeepWhatDidNotChange(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	b := start(t, c, one("stays", "1h", "SELECT 1 AS v")+one("goes", "live", "SELECT 2 AS v"))
	pgtest.Eventually(t, 20*time.Second, func() error {
		return check(b.scrape(t, time.Second), map[string]float64{"test_stays": 1, "test_goes": 2})
	})
	b.engine.SetDefinitions(define(t, one("new", "1h", "SELECT 3 AS v")+one("stays", "1h", "SELECT 1 AS v")))
	want(t, b.scrape(t, time.Second), map[string]float64{"test_stays": 1, "test_goes": -1})
	pgtest.Eventually(t, 20*time.Second, func() error { return check(b.scrape(t, time.Second), map[string]float64{"test_new": 3}) })
}

// A query that is slower than the scrape's deadline costs the page itself, and no other: what else there is is shown, what was cut moves
// to the background, the connection stays, and the page says of each what is so.
func TestASlowCollectorCutsItselfOffThePage(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	b := start(t, c, one("quick", "live", "SELECT 1 AS v")+one("slow", "live", "SELECT 2 AS v FROM pg_sleep(0.9)")+
		one("behind", "live", "SELECT 3 AS v"))
	opened := b.proxy.Accepted()
	success := func(name string) string { return fmt.Sprintf("pg_reliability_collector_success{collector=%q}", name) }
	age := func(name string) string {
		return fmt.Sprintf("pg_reliability_collector_data_age_seconds{collector=%q}", name)
	}
	pgtest.Eventually(t, 20*time.Second, func() error { // on a busy machine even the first answer may come too late
		page := b.scrape(t, 900*time.Millisecond)
		return check(page, map[string]float64{
			"test_quick": 1, success("quick"): 1, age("quick"): 0, "test_behind": 3, success("behind"): 1,
			`pg_reliability_collector_demoted{collector="slow"}`: 1, `pg_reliability_collector_demoted{collector="quick"}`: 0,
		})
	})
	pgtest.Eventually(t, 20*time.Second, func() error {
		return check(b.scrape(t, 500*time.Millisecond), map[string]float64{
			"test_quick": 1, "test_slow": 2, "test_behind": 3, success("slow"): 1, success("behind"): 1,
		})
	})
	for range 5 {
		want(t, b.scrape(t, pgtest.Patience(5*time.Second)), map[string]float64{"test_quick": 1, "test_slow": 2, "test_behind": 3,
			`pg_reliability_collector_errors_total{collector="slow",reason="duplicate"}`: -1}) // its answer and its cache on one page
	}
	if more := b.proxy.Accepted() - opened; more > 1 { // the background's own
		t.Errorf("%d connections were opened", more)
	}
}

// Queries that are slow, each but a part of the time that a page has, cost their own samples alone, from the first page on.
func TestSlowCollectorsLeaveTimeToThoseBehindThem(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	budget := pgtest.Patience(2 * time.Second)
	slow := fmt.Sprintf("SELECT 2 AS v FROM pg_sleep(%f)", 0.45*budget.Seconds())
	b := start(t, c, one("quick", "live", "SELECT 1 AS v")+one("slow", "live", slow)+one("slower", "live", slow)+one("slowest", "live", slow)+
		one("behind", "live", "SELECT 3 AS v"))
	for range 3 {
		want(t, b.scrape(t, budget), map[string]float64{"test_quick": 1, "test_behind": 3,
			`pg_reliability_collector_success{collector="behind"}`: 1, `pg_reliability_collector_demoted{collector="slow"}`: 1,
			`pg_reliability_collector_demoted{collector="slower"}`: 1, `pg_reliability_collector_demoted{collector="slowest"}`: 1})
	}
}

// A client that goes away, and one that gives the page no time, say nothing of the collectors: those that others scrape stay live.
func TestWhoLeavesOrHurriesMovesNoCollector(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	b := start(t, c, one("quick", "live", "SELECT 1 AS v")+one("brisk", "live", "SELECT 2 AS v FROM pg_sleep(0.06)"))
	const unanswered = `pg_reliability_collector_errors_total{collector="brisk",reason="timeout"}`
	stay := map[string]float64{
		`pg_reliability_collector_demoted{collector="quick"}`: 0, `pg_reliability_collector_demoted{collector="brisk"}`: 0,
	}
	for range 5 {
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(30*time.Millisecond, leave)
		b.engine.Gather(ctx, collector.Selection{})
	}
	page := b.scrape(t, pgtest.Patience(5*time.Second))
	want(t, page, stay)
	want(t, page, map[string]float64{unanswered: -1, "test_brisk": 2})

	for cut := 0.0; cut < 3; cut = page[unanswered] {
		ctx, hurry := context.WithTimeout(t.Context(), 80*time.Millisecond)
		b.engine.Gather(ctx, collector.Selection{})
		hurry()
		page = b.scrape(t, pgtest.Patience(5*time.Second))
		if err := check(page, stay); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSamplesOfACollectorAreBounded(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	rows := func(name, refresh string) string {
		return fmt.Sprintf("- name: %s\n  help: For a test.\n  refresh: %s\n  labels: [l]\n  queries:\n    - sql: SELECT g AS v, 'l' || g AS "+
			"l FROM generate_series(1, 200000) AS g\n"+
			"  metrics:\n    - {name: test_%[1]s, column: v, type: gauge, help: For a test.}\n", name, refresh)
	}
	b := start(t, c, rows("live", "live")+rows("cached", "1h")+one("other", "live", "SELECT 7 AS v"))
	const many = collector.DefaultMaxSamples
	pgtest.Eventually(t, 30*time.Second, func() error {
		page := b.scrape(t, pgtest.Patience(10*time.Second))
		live, cached := 0, 0
		for name := range page {
			switch {
			case strings.HasPrefix(name, "test_live{"):
				live++
			case strings.HasPrefix(name, "test_cached{"):
				cached++
			}
		}
		if live > many || cached > many || live+cached > many+many/5 {
			t.Errorf("%d and %d samples", live, cached)
		}
		if max(live, cached) != many || min(live, cached) == 0 {
			return fmt.Errorf("%d and %d samples", live, cached)
		}
		for _, name := range []string{"live", "cached"} {
			if n := page[fmt.Sprintf(`pg_reliability_collector_errors_total{collector=%q,reason="too_many"}`, name)]; n < 150_000 {
				return fmt.Errorf("%v samples of %s are said to be too many", n, name)
			}
		}
		return check(page, map[string]float64{"test_other": 7})
	})
}

// What a user's query changes of the session, such as by a function of the application's, is gone before the next one.
func TestACollectorOfAUsersOwnLeavesNothingInTheSession(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	const unset = "SELECT (set_config('search_path', 'public', false) = 'public' AND pg_advisory_lock(1) IS NOT NULL)::int AS v"
	const kept = "SELECT (current_setting('search_path') = 'pg_catalog' AND NOT EXISTS (SELECT FROM pg_locks WHERE locktype = " +
		"'advisory'))::int AS v"
	b := start(t, c, one("change", "live", unset)+one("same", "live", kept)+one("change_behind", "1s", unset)+one("same_behind", "1s", kept))
	pgtest.Eventually(t, 30*time.Second, func() error {
		page := b.scrape(t, pgtest.Patience(10*time.Second))
		if page["test_same"] == 0 {
			t.Error("the session of the page is changed")
		}
		return check(page, map[string]float64{"test_change": 1, "test_same": 1, "test_change_behind": 1, "test_same_behind": 1})
	})
}

// An answer without any end costs its connection, and the others nothing but that.
func TestACollectorWithoutEndMovesToTheBackground(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	endless := one("endless", "live", "SELECT g AS v, repeat('x', 1000) AS l FROM generate_series(1, 1000000) AS g")
	b := start(t, c, one("before", "live", "SELECT 6 AS v")+endless+one("other", "live", "SELECT 7 AS v"))
	pgtest.Eventually(t, 30*time.Second, func() error {
		page := b.scrape(t, pgtest.Patience(10*time.Second))
		if err := check(page, map[string]float64{"test_before": 6, "test_other": 7}); err != nil { // on each page, the first one among them
			t.Error(err)
		}
		if page[`pg_reliability_collector_errors_total{collector="endless",reason="too_many"}`] == 0 {
			return errors.New("not counted")
		}
		return check(page, map[string]float64{
			"test_other": 7, "test_endless": -1, `pg_reliability_collector_demoted{collector="endless"}`: 1,
			`pg_reliability_collector_success{collector="endless"}`: 0, `pg_reliability_collector_success{collector="other"}`: 1,
		})
	})
}
