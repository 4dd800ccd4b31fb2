package gather

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// engineStub stands for faults that a real engine does not produce at will.
type engineStub struct {
	names    []string
	families []*dto.MetricFamily
	hang     chan struct{} // nil: answers at once
	gathered atomic.Int64
	selected []string
	mu       sync.Mutex
}

func (e *engineStub) Names() []string { return e.names }
func (e *engineStub) Select(include, _ []string) (collector.Selection, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.selected = include
	return collector.Selection{}, nil
}

func (e *engineStub) Gather(context.Context, collector.Selection) []*metric.Family {
	e.gathered.Add(1)
	if e.hang != nil {
		<-e.hang
	}
	return metric.FromDTO(e.families)
}

func (e *engineStub) Conditions() []collector.Condition {
	return []collector.Condition{{Name: "wal"}, {Name: "locks", Error: postgres.Timeout, DataAt: noon.Add(-time.Minute)}}
}

type proberStub struct{ snapshot probe.Snapshot }

func (p proberStub) Snapshot() probe.Snapshot                          { return p.snapshot }
func (p proberStub) History(time.Time) probe.History                   { return probe.History{} }
func (p proberStub) Recent(time.Time) probe.HistoryBucket              { return probe.HistoryBucket{} }
func (p proberStub) Outages(time.Time) []probe.Outage                  { return nil }
func (p proberStub) Observable(probe.RestartKind) (observable, k bool) { return false, true }
func (p proberStub) HistoryTotals(time.Time) (hour, day, month probe.HistoryBucket) {
	return probe.HistoryBucket{}, probe.HistoryBucket{}, probe.HistoryBucket{}
}

func newGatherer(e *engineStub) *Gatherer {
	return New(Options{Engine: e, Prober: proberStub{}, Target: func() string { return "db1:5432/shop" },
		Thresholds: Thresholds{Objective: 0.999}})
}

func gaugeFamily(name string, value float64, labels ...string) *dto.MetricFamily {
	m := &dto.Metric{Gauge: &dto.Gauge{Value: proto.Float64(value)}}
	for i := 0; i < len(labels); i += 2 {
		m.Label = append(m.Label, &dto.LabelPair{Name: &labels[i], Value: &labels[i+1]})
	}
	return &dto.MetricFamily{Name: &name, Type: dto.MetricType_GAUGE.Enum(), Metric: []*dto.Metric{m}}
}

func TestManyReadersShareOneCollection(t *testing.T) {
	e := &engineStub{names: []string{"locks", "connections", "volume"}}
	g := newGatherer(e)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { g.Status(t.Context(), time.Now(), Judged{}, Windows{}) })
	}
	all.Wait()
	if n := e.gathered.Load(); n != 1 {
		t.Errorf("50 readers cost %d collections, want 1", n)
	}
	if want := []string{"connections", "volume"}; !slices.Equal(e.selected, want) {
		t.Errorf("collected %v, want %v alone", e.selected, want)
	}
	// A change of the state makes what was measured before it worthless.
	since := time.Now()
	judged := Judged{State: status.State{Status: status.Down, Since: &since}}
	g.Status(t.Context(), time.Now(), judged, Windows{})
	g.Status(t.Context(), time.Now(), judged, Windows{})
	if n := e.gathered.Load(); n != 2 {
		t.Errorf("%d collections after a change of the state, want one more", n)
	}
	// A clock that was set back must not make each reader cost a collection.
	ahead := time.Now().Add(time.Hour)
	judged.State.Since = &ahead
	for range 5 {
		g.Status(t.Context(), time.Now(), judged, Windows{})
	}
	if n := e.gathered.Load(); n != 2 {
		t.Errorf("%d collections with a change in the future, want none more", n)
	}
}

func TestACollectionThatHangsHoldsUpNobody(t *testing.T) {
	e := &engineStub{names: []string{"connections"}, hang: make(chan struct{})}
	defer close(e.hang)
	g := newGatherer(e)
	start := time.Now()
	for range 3 {
		if s := g.Status(t.Context(), time.Now(), Judged{}, Windows{}); s.MeasuredAt != nil {
			t.Error("measured, although nothing was")
		}
	}
	if took := time.Since(start); took > 10*time.Second || e.gathered.Load() != 1 {
		t.Errorf("3 answers took %s and %d collections", took, e.gathered.Load())
	}
}

func TestNoCollectorIsNotAllCollectors(t *testing.T) {
	e := &engineStub{names: []string{"locks"}}
	newGatherer(e).Status(t.Context(), time.Now(), Judged{}, Windows{})
	if n := e.gathered.Load(); n != 0 {
		t.Errorf("collected %d times although none of what is shown runs", n)
	}
}

func TestWhatIsUnknownIsLeftOut(t *testing.T) {
	e := &engineStub{names: []string{"connections"}, families: []*dto.MetricFamily{
		gaugeFamily("pg_reliability_connections_used", 3), // the rest is missing
		gaugeFamily("pg_replication_is_replica", 0),
		gaugeFamily("pg_replication_lag_seconds", 0),
		gaugeFamily("pg_reliability_backup_catalog_up", 1), // the repository vanished since
	}}
	g := newGatherer(e)
	g.o.Backups = func() *metrics.Listing { return &metrics.Listing{Error: "missing"} }
	s := g.Status(t.Context(), time.Now(), Judged{}, Windows{})
	if s.Connections != nil || s.Server != nil || s.Container != nil || s.Availability.Hour.Ratio != nil {
		t.Errorf("status = %+v, want nothing that is unknown", s)
	}
	if s.Replication == nil || s.Replication.LagSeconds != nil || s.Replication.SlotCount != nil {
		t.Errorf("replication = %+v, want no lag of a primary", s.Replication)
	}
	if s.Backups == nil || s.Backups.Readable || s.Backups.GoodCount != nil {
		t.Errorf("backups = %+v, want unreadable and nothing else", s.Backups)
	}
	if f := s.Collectors.Failing; len(f) != 1 || f[0].Name != "locks" || f[0].Error != "timeout" || s.Collectors.Count != 2 {
		t.Errorf("collectors = %+v", s.Collectors)
	}
	if s.Restarts[0].Count != nil || *s.Restarts[0].Observable {
		t.Errorf("a restart that can't be told has a count: %+v", s.Restarts[0])
	}
}

// catalogueOf is a repository with its reader, and what an engine shows of the reader's newest reading.
func catalogueOf(t *testing.T) (*catalog.Repository, *metrics.Collector, func() []*dto.MetricFamily) {
	t.Helper()
	repo, err := catalog.Init(t.TempDir(), noon)
	if err != nil {
		t.Fatal(err)
	}
	reader := metrics.New(repo.Dir(), time.Now)
	registry := prometheus.NewRegistry()
	registry.MustRegister(reader.Metrics())
	return repo, reader, func() []*dto.MetricFamily {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		return families
	}
}

// backUp enters a backup that was restored and compared.
func backUp(t *testing.T, repo *catalog.Repository) {
	t.Helper()
	draft, err := repo.Begin(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	draft.Manifest.Engine, draft.Manifest.Set, draft.Manifest.RecoveryPoint = "pg_dump", "all", time.Now()
	if err := os.WriteFile(filepath.Join(draft.Dir, "shop.dump"), []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := draft.Seal(); err != nil {
		t.Fatal(err)
	}
	b, err := draft.Publish(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	err = repo.UpdateStatus(t.Context(), b.ID, func(s *catalog.Status) {
		s.Verified = &catalog.Verification{At: time.Now(), Level: 3, Result: catalog.Passed, RestoreSeconds: 3}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The repository is read in the background, so that it may be read again between a collection and an answer.
func TestOneReadingDecidesAllThatIsSaidOfBackups(t *testing.T) {
	repo, reader, read := catalogueOf(t)
	e := &engineStub{names: []string{"backup"}, families: read()}
	g := newGatherer(e)
	g.o.Backups = reader.Listing
	g.o.Thresholds = Thresholds{BackupAge: 3600, BackupLate: 1800, BackupVerifiedWarning: 3600, BackupVerifiedCritical: 7200,
		RestoreObjective: 60}
	if b := g.Status(t.Context(), time.Now(), Judged{}, Windows{}).Backups; b == nil || !b.Readable || b.Newest != nil || *b.GoodCount != 0 {
		t.Fatalf("backups of an empty repository = %+v", b)
	}

	backUp(t, repo)
	read() // newer than what the engine gave
	s := g.Status(t.Context(), time.Now(), Judged{}, Windows{})
	b := s.Backups
	if b.Newest == nil || b.Newest.State != "verified" || b.NewestAgeSeconds == nil || len(b.Recent) != 1 {
		t.Fatalf("backups = %+v, want the new one", b)
	}
	if *b.GoodCount != 1 || *b.BadCount != 0 || b.LastVerifiedAt == nil || status.OrZero(b.RestoreSeconds) != 3 ||
		status.OrZero(b.RepositoryBytes) != *b.Newest.SizeBytes {
		t.Errorf("backups = %+v beside the newest %+v", b, b.Newest)
	}
	for _, p := range s.Problems {
		if strings.HasPrefix(p.Alert, "PostgresBackup") {
			t.Errorf("problem beside a fresh verified backup: %+v", p)
		}
	}

	if b.ReadBackAt == nil || b.Unwatched {
		t.Errorf("a backup that was just verified, without a schedule: read back at %v, unwatched %v", b.ReadBackAt, b.Unwatched)
	}
	next := time.Now()
	err := repo.UpdateState(t.Context(), func(s *catalog.State) {
		s.Schedule = &catalog.Schedule{Expression: "@every 24h", TimeZone: "UTC", Next: next, LastDue: next}
	})
	if err != nil {
		t.Fatal(err)
	}
	read()
	for late, want := range map[time.Duration]bool{-time.Hour: false, 30 * time.Second: false, 2 * time.Minute: true} {
		if b := g.Status(t.Context(), next.Add(late), Judged{}, Windows{}).Backups; b.Unwatched != want {
			t.Errorf("unwatched is %v when the run is late by %s", b.Unwatched, late)
		}
	}
	silent := func(at time.Time) (severity string) {
		for _, p := range g.Status(t.Context(), at, Judged{}, Windows{}).Problems {
			if p.Alert == "PostgresBackupJobSilent" {
				severity = p.Severity
			}
		}
		return severity
	}
	for late, want := range map[time.Duration]string{30 * time.Second: "", 2 * time.Minute: status.Warning, time.Hour: status.Critical} {
		if got := silent(next.Add(late)); got != want {
			t.Errorf("a run that is late by %s is the problem %q, want %q", late, got, want)
		}
	}
	attend(t, repo)
	read()
	early := next.Add(-time.Hour)
	if b := g.Status(t.Context(), early, Judged{}, Windows{}).Backups; !b.Unwatched || silent(early) != status.Critical {
		t.Errorf("a daemon that is gone: unwatched %v, the problem %q", b.Unwatched, silent(early))
	}

	if err := os.RemoveAll(repo.Dir()); err != nil {
		t.Fatal(err)
	}
	read()
	if b := g.Status(t.Context(), time.Now(), Judged{}, Windows{}).Backups; b.Readable || b.CatalogError != "missing" || b.GoodCount != nil {
		t.Errorf("backups of a repository that vanished = %+v", b)
	}
}

func TestTrend(t *testing.T) {
	now := noon
	trends := NewTrends(func() time.Time { return now })
	const gib = 1 << 30
	available := uint64(100 * gib)
	for i := range 300 {
		now = noon.Add(time.Duration(i) * 10 * time.Second)
		available -= 10 << 20 // 1 MiB a second
		trends.Observe("data", 0, available)
		if _, ok := trends.of("data"); ok != (i >= 60) {
			t.Fatalf("after %s there is a trend: %t", now.Sub(noon), ok)
		}
	}
	trend, _ := trends.of("data")
	if math.Abs(trend.growth-(1<<20)) > 1 || trend.over < 45*time.Minute || trend.over > time.Hour {
		t.Errorf("trend = %+v, want 1 MiB a second over the last hour", trend)
	}
	p := newPage([]*dto.MetricFamily{
		gaugeFamily("pg_reliability_volume_size_bytes", 200*gib, "volume", "data"),
		gaugeFamily("pg_reliability_volume_available_bytes", 10*gib, "volume", "data"),
	})
	v := p.volumes(map[string]string{"data": "/data", "gone": "/gone"}, trends)
	if v[0].TimeToFullSeconds == nil || math.Abs(*v[0].TimeToFullSeconds-10*1024) > 1 {
		t.Errorf("volume = %+v, want full in 10240 s", v[0])
	}
	if v[1].OK || v[1].SizeBytes != nil {
		t.Errorf("volume = %+v, want nothing of one that was not measured", v[1])
	}
	now = noon.Add(-time.Hour)
	trends.Observe("data", 0, available)
	if _, ok := trends.of("data"); ok {
		t.Error("there is a trend over a clock that was set back")
	}
	if _, ok := (*Trends)(nil).of("data"); ok {
		t.Error("there is a trend of nothing")
	}
}

func ptr[T any](v T) *T { return &v }

func TestProblems(t *testing.T) {
	limits := Thresholds{
		Objective: 0.999, ConnectionsHigh: 0.8, DiskUsedWarning: 0.85, DiskUsedCritical: 0.95, DiskFillsWarning: 86400, DiskFillsCritical: 14400,
		DiskFillsBelow: 0.4, InodesFree: 0.1, LagWarning: 30, LagCritical: 300, BackupSlack: 7200, BackupAge: 93600, BackupLate: 1800,
		BackupVerifiedWarning: 180000, BackupVerifiedCritical: 604800, RestoreObjective: 300,
	}
	fresh := func(change func(b *status.Backups)) status.Status {
		b := &status.Backups{
			Readable: true, Newest: &status.Backup{FinishedAt: noon.Add(-time.Hour)}, NewestAgeSeconds: ptr(3600.0),
			LastVerifiedAt: ptr(noon.Add(-time.Hour)),
		}
		change(b)
		return status.Status{Backups: b}
	}
	volume := func(v status.Volume) status.Status { return status.Status{Volumes: []status.Volume{v}} }
	up := []status.Probe{{Name: "read", Status: status.Up}}
	for name, tc := range map[string]struct {
		s    status.Status
		want string // severity and alert; empty for none
	}{
		"nothing": {status.Status{State: status.State{Status: status.Up}}, ""},
		"down": {status.Status{State: status.State{Status: status.Down, Reason: "refused"},
			Probes: []status.Probe{{Name: "read", Status: status.Down}}}, "critical PostgresDown"},
		"logins fail": {status.Status{State: status.State{Status: status.Down, Reason: "auth"}, Probes: up},
			"critical PostgresLoginFailing"},
		"no slot": {status.Status{State: status.State{Status: status.Down, Reason: "too_many_connections"}, Probes: up},
			"critical PostgresConnectionsExhausted"},
		"writes fail": {status.Status{State: status.State{Status: status.Degraded, Reason: "read_only"}, Probes: up},
			"critical PostgresDown"},
		"slots":        {status.Status{Connections: &status.Connections{Used: 81, Free: 19, Max: 103}}, "warning PostgresConnectionsHigh"},
		"enough slots": {status.Status{Connections: &status.Connections{Used: 79, Free: 21, Max: 103}}, ""},
		"disk at 90 %": {volume(status.Volume{OK: true, UsedRatio: ptr(0.9)}), "warning PostgresDiskFull"},
		"disk at 96 %": {volume(status.Volume{OK: true, UsedRatio: ptr(0.96)}), "critical PostgresDiskFull"},
		"disk full in 3 h": {volume(status.Volume{OK: true, UsedRatio: ptr(0.8), TimeToFullSeconds: ptr(10800.0), TrendSeconds: ptr(3600.0)}),
			"critical PostgresDiskFillsSoon"},
		"disk full in 20 h": {volume(status.Volume{OK: true, UsedRatio: ptr(0.8), TimeToFullSeconds: ptr(72000.0), TrendSeconds: ptr(3600.0)}),
			"warning PostgresDiskFillsSoon"},
		"disk full in 2 d": {volume(status.Volume{OK: true, UsedRatio: ptr(0.8), TimeToFullSeconds: ptr(172800.0), TrendSeconds: ptr(3600.0)}),
			""},
		"disk's short trend": {volume(status.Volume{OK: true, UsedRatio: ptr(0.8), TimeToFullSeconds: ptr(10800.0), TrendSeconds: ptr(700.0)}),
			""},
		"disk mostly empty": {volume(status.Volume{OK: true, UsedRatio: ptr(0.1), TimeToFullSeconds: ptr(10800.0), TrendSeconds: ptr(3600.0)}),
			""},
		"disk read-only":   {volume(status.Volume{OK: true, ReadOnly: ptr(true)}), "critical PostgresVolumeReadOnly"},
		"inodes":           {volume(status.Volume{OK: true, UsedRatio: ptr(0.1), InodesFreeRatio: ptr(0.05)}), "warning PostgresInodesLow"},
		"not measured yet": {volume(status.Volume{}), ""},
		"not streaming":    {status.Status{Replication: &status.Replication{Streaming: ptr(false)}}, "critical PostgresReplicaNotStreaming"},
		"lag of 40 s":      {status.Status{Replication: &status.Replication{LagSeconds: ptr(40.0)}}, "warning PostgresReplicationLag"},
		"lag of 400 s":     {status.Status{Replication: &status.Replication{LagSeconds: ptr(400.0)}}, "critical PostgresReplicationLag"},
		"slot lost": {status.Status{Replication: &status.Replication{Slots: []status.Slot{{Invalidated: ptr(true)}}}},
			"critical PostgresSlotLost"},
		"fresh backup": {fresh(func(*status.Backups) {}), ""},
		"no backup":    {fresh(func(b *status.Backups) { b.Newest, b.NewestAgeSeconds = nil, nil }), "critical PostgresBackupMissing"},
		"unreadable":   {fresh(func(b *status.Backups) { b.Readable = false }), "critical PostgresBackupRepositoryUnreadable"},
		"old":          {fresh(func(b *status.Backups) { b.NewestAgeSeconds = ptr(94000.0) }), "critical PostgresBackupTooOld"},
		"old for an hour's": {fresh(func(b *status.Backups) { b.NewestAgeSeconds, b.IntervalSeconds = ptr(11000.0), ptr(3600.0) }),
			"critical PostgresBackupTooOld"},
		"never verified": {fresh(func(b *status.Backups) { b.LastVerifiedAt = nil }), "warning PostgresBackupUnverified"},
		"verified 3 days ago": {fresh(func(b *status.Backups) { b.LastVerifiedAt = ptr(noon.Add(-72 * time.Hour)) }),
			"warning PostgresBackupUnverified"},
		"verified 8 days ago": {fresh(func(b *status.Backups) { b.LastVerifiedAt = ptr(noon.Add(-192 * time.Hour)) }),
			"critical PostgresBackupUnverified"},
		"failed since":   {fresh(func(b *status.Backups) { b.LastFailureAt = ptr(noon.Add(-time.Minute)) }), "warning PostgresBackupFailed"},
		"failed before":  {fresh(func(b *status.Backups) { b.LastFailureAt = ptr(noon.Add(-2 * time.Hour)) }), ""},
		"damaged":        {fresh(func(b *status.Backups) { b.BadCount = ptr(int64(1)) }), "warning PostgresBackupDamaged"},
		"job is late":    {fresh(func(b *status.Backups) { b.NextRunAt = ptr(noon.Add(-time.Hour)) }), "critical PostgresBackupJobSilent"},
		"job is running": {fresh(func(b *status.Backups) { b.NextRunAt, b.RunningSince = ptr(noon.Add(-time.Hour)), ptr(noon) }), ""},
		"slow restore":   {fresh(func(b *status.Backups) { b.RestoreSeconds = ptr(400.0) }), "warning PostgresRestoreSlow"},
		"out of memory":  {status.Status{Container: &status.Container{OOMKilled: true}}, "warning PostgresContainerOOMKilled"},
		"budget": {status.Status{Availability: status.Availability{Budget: status.Budget{LeftSeconds: -1}}},
			"warning PostgresErrorBudgetBurn"},
		"many collectors": {status.Status{Collectors: status.Collectors{Count: 34, Failing: make([]status.FailingCollector, 30)}},
			"warning PostgresCollectorFailing"},
		"collector": {status.Status{Collectors: status.Collectors{Failing: []status.FailingCollector{{Name: "wal"}}}},
			"warning PostgresCollectorFailing"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.s.GeneratedAt, tc.s.Links.Runbooks = noon, "https://runbooks.example/"
			got := ""
			for _, p := range problems(&tc.s, limits, probe.Snapshot{}, nil, probe.HistoryBucket{}, &counters{}) {
				got += p.Severity + " " + p.Alert
				if p.Runbook != "https://runbooks.example/"+p.Alert+".md" || p.Message == "" {
					t.Errorf("problem = %+v", p)
				}
				if _, err := os.Stat("../../../alerts/runbooks/" + p.Alert + ".md"); err != nil {
					t.Errorf("there is no such runbook: %v", err)
				}
			}
			if got != tc.want {
				t.Errorf("problems: %q, want %q", got, tc.want)
			}
		})
	}
	s := status.Status{
		Connections: &status.Connections{Used: 90, Free: 10}, State: status.State{Status: status.Down},
		Probes: []status.Probe{{Name: "read", Status: status.Down}},
	}
	if p := problems(&s, limits, probe.Snapshot{}, nil, probe.HistoryBucket{}, &counters{}); len(p) != 2 || p[0].Severity != status.Critical ||
		p[0].Runbook != "" {
		t.Errorf("problems = %+v, want the worst first, and no link without an address", p)
	}
}

// attend has a daemon note its lock in the repository, and end.
func attend(t *testing.T, repo *catalog.Repository) {
	t.Helper()
	lock, release, err := repo.Attend("")
	if err != nil {
		t.Fatal(err)
	}
	release()
	if err := repo.UpdateState(t.Context(), func(s *catalog.State) { s.Schedule.Lock = lock }); err != nil {
		t.Fatal(err)
	}
}
