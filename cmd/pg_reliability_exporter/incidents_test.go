package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// incident waits for the newest one to have ended, and to be told as something.
func (r *running) incident(t *testing.T, want incident.Cause) (id string) {
	t.Helper()
	return r.incidentAt(t, "", want)
}

// incidentAt is that of a server of a fleet, whose pages are below a path.
func (r *running) incidentAt(t *testing.T, below string, want incident.Cause) (id string) {
	t.Helper()
	pgtest.Eventually(t, 30*time.Second, func() error {
		code, text, err := r.get(t, below+"/api/incidents")
		if err != nil || code != http.StatusOK {
			return fmt.Errorf("/api/incidents: %d, %w", code, err)
		}
		var answer struct{ Incidents []incident.Summary }
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			return err
		}
		if len(answer.Incidents) == 0 || answer.Incidents[0].End.IsZero() || answer.Incidents[0].Cause != want {
			return fmt.Errorf("the incidents are %s", text)
		}
		id = answer.Incidents[0].ID
		return nil
	})
	return id
}

// TestAnOutageComesWithItsStory: a backend is killed, and its page says which, by which signal, and what it ran; also after a restart of
// the exporter.
func TestAnOutageComesWithItsStory(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t, pgtest.Options{})
	flags := []string{"--log.file=" + pg.LogFile(), "--state.dir=" + t.TempDir()}
	r := launch(t, pg.MonitorDSN(), flags...)
	pgtest.Eventually(t, 20*time.Second, func() error { return r.health(t, "ok") })
	conn, err := pg.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		_, _ = conn.Exec(context.Background(), "SELECT pg_sleep(60) AS \"<script>alert(1)</script>\", 'top-secret'")
		conn.Close(context.Background())
	}()
	pgtest.Eventually(t, 10*time.Second, func() error {
		n, err := pg.Query(t.Context(), "postgres", "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query ~ 'top-secret' "+
			"AND pid = $1", conn.PgConn().PID())
		if err != nil || n != "1" {
			return fmt.Errorf("%q run it, %w", n, err)
		}
		return nil
	})
	if err := syscall.Kill(int(conn.PgConn().PID()), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-cut
	id := r.incident(t, incident.KilledBySignal)
	for _, path := range []string{"/incidents", "/incidents/" + id, "/incidents/" + id + ".md", "/api/incidents/" + id, "/api/incidents"} {
		code, text, err := r.get(t, path)
		if err != nil || code != http.StatusOK || !strings.Contains(text, "SIGKILL") || !strings.Contains(text, "pg_sleep") {
			t.Errorf("%s: %d, %v: %s", path, code, err, text)
		}
		if strings.Contains(text, "top-secret") || strings.Contains(text, "<script>alert") && strings.HasSuffix(path, id) &&
			!strings.HasPrefix(path, "/api/") {
			t.Errorf("%s shows a literal, or runs what a server said: %s", path, text)
		}
	}
	if err := r.scrape(t).is(`pg_reliability_log_events_total{event="process_killed"}`, 1); err != nil {
		t.Error(err)
	}
	b := openBrowser(t)
	for name, path := range map[string]string{"incident": "/incidents/" + id, "incidents": "/incidents"} {
		for _, colours := range []string{"light", "dark"} {
			b.look(1200, colours)
			b.do(chromedp.Navigate(r.url + path))
			b.accessible(name + ", " + colours)
			b.picture(name + "-" + colours)
		}
		b.look(360, "light")
		b.accessible(name + ", narrow")
		b.picture(name + "-narrow")
	}
	r.stop()
	r = launch(t, pg.MonitorDSN(), flags...)
	if again := r.incident(t, incident.KilledBySignal); again != id {
		t.Errorf("after a restart of the exporter %s is %s", id, again)
	}
}
