package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/google/jsonschema-go/jsonschema"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgdump"
	"github.com/pg-reliability/pg_reliability_exporter/backup/job"
	"github.com/pg-reliability/pg_reliability_exporter/backup/retention"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/verify"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// status reads /api/status, checks it against the documented schema, and that it came at once.
func (r *running) status(t *testing.T) status.Status {
	t.Helper()
	start := time.Now()
	code, body, err := r.get(t, "/api/status")
	if err != nil || code != http.StatusOK {
		t.Fatalf("/api/status: %d, %v\n%s", code, err, body)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("/api/status took %s", took)
	}
	var answer any
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	if err := strictSchema(t).Validate(answer); err != nil {
		t.Fatalf("/api/status is not as documented: %v\n%s", err, body)
	}
	if strings.Contains(body, "null") {
		t.Errorf("/api/status has a null, where what is unknown is left out:\n%s", body)
	}
	var s status.Status
	decoder := json.NewDecoder(bytes.NewReader([]byte(body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// strictSchema is docs/status.schema.json without its room for fields of later versions.
func strictSchema(t *testing.T) *jsonschema.Resolved {
	t.Helper()
	text, err := os.ReadFile("../../docs/status.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	var forbid func(s *jsonschema.Schema)
	forbid = func(s *jsonschema.Schema) {
		if s.Properties != nil {
			s.AdditionalProperties = &jsonschema.Schema{Not: &jsonschema.Schema{}}
		}
		for p := range maps.Values(s.Properties) {
			forbid(p)
		}
		if s.Items != nil {
			forbid(s.Items)
		}
	}
	forbid(&schema)
	resolved, err := schema.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return resolved
}

// until waits for a status that check accepts.
func (r *running) until(t *testing.T, check func(status.Status) error) status.Status {
	t.Helper()
	var s status.Status
	pgtest.Eventually(t, 90*time.Second, func() error {
		s = r.status(t)
		return check(s)
	})
	return s
}

// is tells whether a value is known and as wanted.
func is[T comparable](p *T, want T) bool { return p != nil && *p == want }

// measured tells whether all is known of a volume that is known at once.
func measured(v status.Volume) bool {
	return v.OK && v.SizeBytes != nil && v.UsedRatio != nil && v.ReadOnly != nil
}

func alertsOf(s status.Status) []string {
	var out []string
	for _, p := range s.Problems {
		out = append(out, p.Alert)
	}
	return out
}

// backUp makes one backup of the server, restored and compared.
func backUp(t *testing.T, pg *pgtest.Cluster, repo *catalog.Repository) {
	t.Helper()
	target, err := server.Parse(pg.DSN("postgres", "postgres"), nil)
	if err != nil {
		t.Fatal(err)
	}
	e, logger := &pgdump.Engine{}, log.NewNopLogger()
	j := &job.Job{
		Pruner: job.Pruner{Repo: repo, Policy: retention.Policy{Keep: 7}, Log: logger},
		Engine: e, Trigger: "run", Tool: "test", Verify: true,
		Request: engine.Request{Target: target, LockWait: 2 * time.Second, Log: logger}, Now: time.Now,
		Verifier: &verify.Verifier{Repo: repo, Engines: []engine.Engine{e}, Log: logger, Now: time.Now},
	}
	if _, err := j.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestStatusThroughAnOutageARestartAndABackup(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t, pgtest.Options{})
	repo, err := catalog.Init(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--state.dir=" + t.TempDir(), "--volume=data=" + pg.DataDir(), "--volume=gone=/no/such/directory", "--backup.catalog=" + repo.Dir(),
		"--probe.interval=200ms", "--probe.login-interval=500ms", "--web.grafana-url=https://grafana.example/d/pgr",
	}
	r := launch(t, pg.MonitorDSN(), args...)

	s := r.until(t, func(s status.Status) error {
		switch {
		case s.State.Status != status.Up || s.Server == nil || s.Server.StartedAt == nil || s.Backups == nil ||
			s.Availability.Hour.P50Seconds == nil:
			return fmt.Errorf("%+v", s)
		case s.Connections == nil || s.Connections.ByState["idle"] == 0: // each of ours may be busy for a moment
			return fmt.Errorf("connections = %+v", s.Connections)
		case s.Replication == nil || s.Replication.ClientCount == nil:
			return fmt.Errorf("replication = %+v", s.Replication)
		case len(s.Volumes) != 2 || !measured(s.Volumes[0]):
			return fmt.Errorf("volumes = %+v", s.Volumes)
		case !slices.Contains(alertsOf(s), "PostgresBackupMissing") || !slices.Contains(alertsOf(s), "PostgresVolumeUnreadable"):
			return fmt.Errorf("problems = %v, want a backup and a volume missed", alertsOf(s))
		}
		return nil
	})
	if s.Server.Role != "primary" || s.Server.VersionNumber/10000 != pg.Install.Major {
		t.Errorf("server = %+v", s.Server)
	}
	if c := s.Connections; c.Max <= 0 || c.Used <= 0 || c.Free <= 0 {
		t.Errorf("connections = %+v", c)
	}
	if *s.Replication.ClientCount != 0 || s.Replication.LagSeconds != nil {
		t.Errorf("replication = %+v, want no clients, and no lag of a primary", s.Replication)
	}
	if v := s.Volumes[0]; *v.SizeBytes <= 0 || *v.UsedRatio <= 0 || *v.ReadOnly || v.TimeToFullSeconds != nil {
		t.Errorf("volume = %+v, want its size and, so early, no forecast", v)
	}
	if s.Container != nil || s.Links.Grafana != "https://grafana.example/d/pgr" {
		t.Errorf("status = %+v", s)
	}

	if err := pg.Stop(); err != nil {
		t.Fatal(err)
	}
	s = r.until(t, func(s status.Status) error {
		if s.State.Status != status.Down || s.State.Reason != "refused" || s.Connections != nil {
			return fmt.Errorf("%+v, connections %+v", s.State, s.Connections)
		}
		// Where a login fails before the next read does, PostgresLoginFailing is first.
		if len(s.Problems) == 0 || s.Problems[0].Alert != "PostgresDown" {
			return fmt.Errorf("problems = %v", alertsOf(s))
		}
		return nil
	})
	// A login that was in the queue of a server that ends is reset, and not refused.
	if !strings.Contains(s.State.Cause, "connection refused") && !strings.Contains(s.State.Cause, "connection reset") || s.State.Since == nil {
		t.Errorf("state = %+v, want since when and the cause", s.State)
	}
	if p := s.Problems[0]; p.Runbook != runbookURL+"PostgresDown.md" {
		t.Errorf("the first problem is %+v, want it with its runbook", p)
	}
	if o := s.Outages.Recent; len(o) != 1 || o[0].End != nil || o[0].Seconds <= 0 {
		t.Errorf("outages = %+v, want the one in progress", o)
	}
	if slices.Contains(alertsOf(s), "PostgresCollectorFailing") &&
		!slices.ContainsFunc(s.Collectors.Failing, func(c status.FailingCollector) bool { return c.Name == "volume" }) {
		t.Errorf("collectors = %+v: those that wait for the server do not fail", s.Collectors)
	}

	if err := pg.Launch(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = r.until(t, func(s status.Status) error {
		ended := len(s.Outages.Recent) == 1 && s.Outages.Recent[0].End != nil
		if s.State.Status != status.Up || !ended || len(s.Restarts) == 0 || !is(s.Restarts[0].Count, 1) {
			return fmt.Errorf("%+v, outages %+v, restarts %+v", s.State, s.Outages, s.Restarts)
		}
		return nil
	})
	outage := s.Outages.Recent[0].Seconds
	if down := s.Availability.Hour.DownSeconds; math.Abs(down-outage) > 0.1 {
		t.Errorf("the history has %.3f s of downtime, the outage lasted %.3f s", down, outage)
	}

	r.stop()
	backUp(t, pg, repo)
	r = launch(t, pg.MonitorDSN(), args...)
	s = r.until(t, func(s status.Status) error {
		if s.State.Status != status.Up || s.Backups == nil || s.Backups.Newest == nil {
			return fmt.Errorf("%+v, backups %+v", s.State, s.Backups)
		}
		return nil
	})
	if down := s.Availability.Hour.DownSeconds; math.Abs(down-outage) > 0.1 || len(s.Outages.Recent) != 1 {
		t.Errorf("after a restart of the exporter: %.3f s of downtime, want %.3f s; outages %+v", down, outage, s.Outages.Recent)
	}
	if slices.Contains(alertsOf(s), "PostgresBackupMissing") {
		t.Errorf("problems = %v although there is a backup", alertsOf(s))
	}
	b := s.Backups
	if n := b.Newest; n.State != "verified" || n.SizeBytes == nil || *n.SizeBytes <= 0 || n.RestoreSeconds == nil || !is(b.GoodCount, 1) ||
		len(b.Recent) != 1 || b.NewestAgeSeconds == nil {
		t.Errorf("backups = %+v, newest %+v", b, n)
	}
}

func TestStatusOfReplication(t *testing.T) {
	t.Parallel()
	primary := pgtest.New(t, pgtest.Options{})
	standby, err := primary.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Close() })
	if err := primary.Exec(t.Context(), "SELECT pg_create_physical_replication_slot('forgotten', true)"); err != nil {
		t.Fatal(err)
	}
	of, to := launch(t, primary.MonitorDSN()), launch(t, standby.MonitorDSN())
	s := of.until(t, func(s status.Status) error {
		// Several collectors make this part, and one of them may be late.
		r := s.Replication
		switch {
		case r == nil || !is(r.ClientCount, 1) || !is(r.SlotCount, 1) || len(r.Clients) != 1 || len(r.Slots) != 1:
			return fmt.Errorf("replication = %+v", r)
		case r.Clients[0].State != "streaming" || r.Clients[0].ReplayLagBytes == nil:
			return fmt.Errorf("client = %+v", r.Clients[0])
		case r.Slots[0].RetainedBytes == nil || r.Slots[0].WALStatus == "" || r.Slots[0].Invalidated == nil:
			return fmt.Errorf("slot = %+v", r.Slots[0])
		}
		return nil
	})
	if c := s.Replication.Clients[0]; c.ApplicationName != "standby" || c.Address != "127.0.0.1" {
		t.Errorf("client = %+v", c)
	}
	if s.Replication.Streaming != nil {
		t.Errorf("replication of the primary = %+v, want no word of what a standby does", s.Replication)
	}
	if slot := s.Replication.Slots[0]; slot.Name != "forgotten" || slot.Type != "physical" || slot.Active || slot.WALStatus != "reserved" ||
		*slot.Invalidated {
		t.Errorf("slot = %+v", slot)
	}
	s = to.until(t, func(s status.Status) error {
		if r := s.Replication; r == nil || !is(r.Streaming, true) || r.LagSeconds == nil {
			return fmt.Errorf("replication = %+v", r)
		}
		if s.Server == nil || s.Server.Role != "standby" || s.Server.ReplayLagSeconds == nil {
			return fmt.Errorf("server = %+v", s.Server)
		}
		return nil
	})
	pgtest.Eventually(t, 40*time.Second, func() error {
		_, body, err := to.get(t, "/")
		if err == nil && !strings.Contains(body, "Receives WAL from its primary") {
			err = errors.New("the standby's page does not say that it receives WAL")
		}
		return err
	})
}

func TestStatusAnswersAtOnceWhileTheServerIsFrozen(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t, pgtest.Options{})
	// The prober is patient, so that a collection is due and begins before the freezing is seen.
	r := launch(t, pg.MonitorDSN(), "--probe.interval=200ms", "--probe.timeout=8s")
	r.until(t, func(s status.Status) error {
		if s.Connections == nil {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	pg.Pause()
	defer pg.Resume()
	frozen := time.Now()
	for down := false; !down; {
		start := time.Now()
		s := r.status(t)
		if took := time.Since(start); took > 2500*time.Millisecond { // a collection of a frozen server takes longer
			t.Fatalf("an answer took %s while the server was frozen", took)
		}
		down = s.State.Status == status.Down
		if time.Since(frozen) > 60*time.Second {
			t.Fatal("the server's freezing was not seen")
		}
	}
}

func TestStatusPagesCostNoMoreThanAScrape(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t, pgtest.Options{})
	r := launch(t, pg.MonitorDSN())
	r.until(t, func(s status.Status) error {
		if s.Connections == nil {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	const collections = "pg_reliability_collections_total"
	before := r.scrape(t)[collections]
	start := time.Now()
	done := make(chan error)
	for range 40 {
		go func() {
			code, _, err := r.get(t, "/")
			if err == nil && code != http.StatusOK {
				err = fmt.Errorf("status %d", code)
			}
			done <- err
		}()
	}
	for range 40 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	// One at most every 5 seconds, however many ask, and the scrape that counts them.
	allowed := 2 + math.Ceil(time.Since(start).Seconds()/5)
	if made := r.scrape(t)[collections] - before; made > allowed {
		t.Errorf("40 pages cost %v collections, want at most %v", made, allowed)
	}
	if n := ourConnections(t, pg); n > 4 {
		t.Errorf("%d connections, want at most the 4 there are without a page", n)
	}
}

func TestStatusPageOff(t *testing.T) {
	t.Parallel()
	r := launch(t, "postgres://nobody@127.0.0.1:1/none", "--no-web.status-page")
	if code, _, _ := r.get(t, "/api/status"); code != http.StatusNotFound {
		t.Errorf("/api/status: %d, want 404", code)
	}
	code, body, _ := r.get(t, "/")
	if code != http.StatusOK || !strings.Contains(body, `href="metrics"`) || strings.Contains(body, "<svg") {
		t.Errorf("/: %d, want the list of links\n%s", code, body)
	}
}

func TestRunbooksAreWhereTheAlertsSay(t *testing.T) {
	t.Parallel()
	config, err := alerts.Load()
	if err != nil {
		t.Fatal(err)
	}
	if config.Links.Runbook != runbookURL {
		t.Errorf("the page links to %s, alerts/thresholds.yml to %s", runbookURL, config.Links.Runbook)
	}
}
