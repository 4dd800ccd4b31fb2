package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

const testToken = "0123456789abcdef-token"

// ask sends a request for /-/backup.
func (d *daemonProcess) ask(method string, header http.Header) (int, onDemandAnswer, string) {
	d.b.t.Helper()
	req, err := http.NewRequestWithContext(d.b.t.Context(), method, d.url+"/-/backup", http.NoBody)
	if err != nil {
		d.b.t.Fatal(err)
	}
	req.Header = header
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		d.b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		d.b.t.Fatal(err)
	}
	var a onDemandAnswer
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(body, &a); err != nil {
			d.b.t.Fatalf("%v in %s", err, body)
		}
	}
	return res.StatusCode, a, string(body)
}

// serving waits for the daemon and for its first backup.
func (d *daemonProcess) serving() {
	d.b.t.Helper()
	pgtest.Eventually(d.b.t, 60*time.Second, func() error {
		if code, text, err := d.get("/-/healthy"); err != nil || code != http.StatusOK {
			return fmt.Errorf("%d %s %w\n%s", code, text, err, d.logs)
		}
		return nil
	})
}

func TestBackupNowOverHTTP(t *testing.T) {
	b := newBench(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(testToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := b.daemon("--cron", "0 3 1 1 *", "--web.backup-token-file", token)
	d.serving()
	bearer := http.Header{"Authorization": {"Bearer " + testToken}}
	var a onDemandAnswer
	pgtest.Eventually(t, 60*time.Second, func() error { // the first backup's verification ends
		_, a, _ = d.ask(http.MethodGet, bearer)
		if a.Last == nil || a.Running != nil {
			return fmt.Errorf("%+v", a)
		}
		return nil
	})
	if a.Last.Trigger != "schedule" || a.Last.Result != "success" || a.Last.State != "verified" {
		t.Errorf("the run at the start: %+v", a.Last)
	}

	for what, header := range map[string]http.Header{
		"no token":      {},
		"a wrong one":   {"Authorization": {"Bearer " + testToken + "x"}},
		"an empty one":  {"Authorization": {"Bearer "}},
		"basic instead": {"Authorization": {"Basic " + testToken}},
		"another site":  {"Authorization": {"Bearer " + testToken}, "Sec-Fetch-Site": {"cross-site"}},
	} {
		code, _, body := d.ask(http.MethodPost, header)
		if want := http.StatusUnauthorized; code != want && (what != "another site" || code != http.StatusForbidden) {
			t.Errorf("%s: %d %s", what, code, body)
		}
		if strings.Contains(body, testToken) {
			t.Errorf("%s: the answer shows the token", what)
		}
	}
	if n := len(b.list()); n != 1 {
		t.Fatalf("%d backups, want the first one alone", n)
	}

	code, a, body := d.ask(http.MethodPost, bearer)
	if code != http.StatusAccepted || !a.Accepted {
		t.Fatalf("%d %s", code, body)
	}
	if code, a, body := d.ask(http.MethodPost, http.Header{tokenHeader: {testToken}}); code != http.StatusConflict || a.Accepted {
		t.Errorf("a second request at once: %d %s", code, body)
	}
	phases := map[string]bool{}
	pgtest.Eventually(t, 60*time.Second, func() error {
		_, a, body = d.ask(http.MethodGet, bearer)
		if a.Running != nil {
			phases[a.Running.Phase] = true
		}
		if a.Last == nil || a.Last.Trigger != "request" {
			return fmt.Errorf("not yet: %s", body)
		}
		return nil
	})
	all := b.list()
	if a.Last.Result != "success" || a.Last.State != "verified" || len(all) != 2 || a.Last.ID != all[0].ID {
		t.Errorf("%s, %d backups", body, len(all))
	}
	if len(phases) < 2 {
		t.Errorf("progress showed the phases %v only", phases)
	}

	// A failure is told in words, and not tried again by itself.
	if err := b.pg.Stop(); err != nil {
		t.Fatal(err)
	}
	d.ask(http.MethodPost, bearer)
	pgtest.Eventually(t, 60*time.Second, func() error {
		_, a, body = d.ask(http.MethodGet, bearer)
		if a.Last == nil || a.Last.Result != "failure" {
			return fmt.Errorf("not yet: %s", body)
		}
		return nil
	})
	if a.Last.Reason != "connection" || a.Last.Message == "" {
		t.Errorf("%s", body)
	}

	// The file is read anew; what is in it can't be guessed; nothing of it is logged.
	if err := os.WriteFile(token, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, body := d.ask(http.MethodGet, http.Header{tokenHeader: {"short"}}); code != http.StatusInternalServerError {
		t.Errorf("a short token: %d %s", code, body)
	}
	pgtest.Eventually(t, 10*time.Second, func() error { // so that it is no error of the stop
		if !strings.Contains(d.logs.String(), "nobody can be authenticated") {
			return errors.New("the log does not say yet that nobody can be authenticated")
		}
		return nil
	})
	d.stop()
	if strings.Contains(d.logs.String(), testToken) {
		t.Errorf("the log shows the token:\n%s", d.logs)
	}
	b.want(exitConfig, "schedule", "--web.backup-token-file", token)
}

func TestBackupNowIsOffByDefault(t *testing.T) {
	b := newBench(t)
	d := b.daemon("--cron", "0 3 1 1 *", "--no-verify")
	d.serving()
	code, a, body := d.ask(http.MethodPost, http.Header{"Authorization": {"Bearer " + testToken}})
	if code != http.StatusForbidden || !strings.Contains(a.Error, "--web.backup-token-file") {
		t.Errorf("%d %s", code, body)
	}
	d.stop()
}
