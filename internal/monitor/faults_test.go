package monitor

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// obedient carries out every order and restarts nothing.
type obedient struct{ asked int }

func (o *obedient) Name() string                  { return "the server" }
func (o *obedient) Restart(context.Context) error { o.asked++; return nil }

// A restart that did nothing, or whose server does not come back, is said to be so, and can be ordered again.
func TestRestartThatChangesNothing(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	server := &obedient{}
	s := New(t.Context(), Options{Sources: Sources{Server: server}, Limits: Limits{Recovery: 30 * time.Second}})
	s.now = func() time.Time { return now }
	answer := func(state string, started time.Time) {
		s.answered(statusMsg{status: &status.Status{GeneratedAt: now, State: status.State{Status: state},
			Server: &status.Server{StartedAt: &started}}})
	}
	order := func() {
		t.Helper()
		s.key(tea.KeyPressMsg{Text: "r", Code: 'r'})
		if !s.asksRestart {
			t.Fatalf("R asks nothing: %s", s.draw())
		}
		s.restarted(s.key(tea.KeyPressMsg{Text: "y", Code: 'y'})().(restartedMsg))
	}
	says := func(want string) {
		t.Helper()
		if screen := s.draw(); !strings.Contains(strings.Join(strings.Fields(screen), " "), want) {
			t.Errorf("the screen does not say %q:\n%s", want, screen)
		}
	}
	before := now.Add(-time.Hour)

	answer(status.Up, before)
	order()
	now = now.Add(time.Second)
	answer(status.Up, before)
	says("the database from before still answers")
	now = now.Add(restartNoticed + time.Second)
	answer(status.Up, before)
	says("NOT restarted")

	order()
	now = now.Add(40 * time.Second)
	answer(status.Down, before)
	says("does not answer yet, longer than the 30 s aimed at")
	order() // again: the first has not helped
	now = now.Add(2 * time.Second)
	answer(status.Up, now)
	says("Restarted: the database answers again after 2.0 s")
	if server.asked != 3 {
		t.Errorf("%d orders, want 3", server.asked)
	}
}

// Whoever answers in the exporter's place commands no terminal, and learns no token of somebody else's.
func TestAnswersOfOthers(t *testing.T) {
	const evil = "\x1b[2J\x1b]0;stolen\x07text\r\n"
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the other host was sent %v", r.Header)
	}))
	defer other.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/ok/api/status", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"schema_version":1,"target":"\u001b[2J\u001b]0;stolen\u0007text","problems":[{"message":"\u009b31mtext\nmore"}]}`))
	})
	mux.HandleFunc("/wrong/", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, evil, http.StatusUnauthorized) })
	mux.HandleFunc("/-/backup", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1), http.StatusTemporaryRedirect)
	})
	here := httptest.NewServer(mux)
	defer here.Close()

	exporter := func(path string) *ExporterClient {
		c, err := NewExporterClient(HTTPOptions{URL: here.URL + path})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	s, _, err := exporter("/ok").Status(t.Context())
	if err != nil || s.Target != "text" || s.Problems[0].Message != "31mtext more" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, _, err := exporter("/wrong").Status(t.Context()); err == nil || strings.ContainsAny(err.Error(), "\x1b\x07\r\n") ||
		!strings.Contains(err.Error(), "401: text") {
		t.Errorf("%q", err)
	}
	for _, wrong := range []struct {
		ask  func() error
		want string
	}{
		{func() error { _, _, err := exporter("/nothing").Status(t.Context()); return err }, "status 404: 404 page not found. HINT: Leave " +
			"/nothing out of --exporter.url"},
		{func() error {
			b, err := NewBackupClient(HTTPOptions{URL: here.URL + "/nothing"})
			if err == nil {
				_, err = b.Start(t.Context())
			}
			return err
		}, "status 404: 404 page not found. HINT: Leave /nothing out of --backup.url"},
	} {
		if err := wrong.ask(); err == nil || !strings.Contains(err.Error(), wrong.want) {
			t.Errorf("%v, want %s", err, wrong.want)
		}
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret-of-the-job"), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := httptest.NewTLSServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect)) // the same host, without TLS
	defer plain.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: plain.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []HTTPOptions{{URL: here.URL, TokenFile: token}, {URL: plain.URL, TokenFile: token, CAFile: ca}} {
		b, err := NewBackupClient(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "status 307") {
			t.Errorf("%v", err)
		}
	}
}

// --timeout is what it says, also when it is longer than the screen would wait.
func TestDeadlineOfTheQuestion(t *testing.T) {
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(httpTimeout + time.Second)
		_, _ = w.Write([]byte(`{"schema_version":1}`))
	}))
	defer slow.Close()
	c, err := NewExporterClient(HTTPOptions{URL: slow.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, _, err := c.Status(ctx); err != nil {
		t.Error(err)
	}
}

// Before the first good backup one reads whether one is being made, and why the last one failed.
func TestBackupsBeforeTheFirst(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	for want, b := range map[string]status.Backups{
		"NONE that is good the job is LATE: nobody has read the newest backup's files since they were written": {
			Readable: true, Unwatched: true},
		"NONE that is good the job is LATE: the newest backup's files were last read 5 min ago": {
			Readable: true, Unwatched: true, ReadBackAt: new(now.Add(-5 * time.Minute))},
		"NONE that is good one is being made for 30 s": {Readable: true, RunningSince: ago(30 * time.Second)},
		"NONE that is good, 1 BAD the last run FAILED 5 min ago: space": {Readable: true, BadCount: new(int64(1)),
			LastFailureAt: ago(5 * time.Minute), LastFailureReason: "space"},
	} {
		s := New(t.Context(), Options{})
		s.now, s.status = func() time.Time { return now }, &status.Status{Backups: &b}
		if got := strings.Join(strings.Fields(strings.Join(s.backups(), "\n")), " "); got != "Backups "+want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// An exporter without TLS that is asked for it is no riddle.
func TestAnExporterWithoutTLSIsNamed(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	c, err := NewExporterClient(HTTPOptions{URL: strings.Replace(plain.URL, "http://", "https://", 1)})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = c.Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), "HINT: It has no TLS: write http:// in --exporter.url") {
		t.Error(err)
	}
}
