//go:build linux

package compose_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// grafana asks Grafana through its published port, as the administrator. Without a password nobody is logged in.
func (s *stack) grafana(password, path string, body, into any) error {
	method, text := http.MethodGet, []byte(nil)
	if body != nil {
		method = http.MethodPost
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequest(method, "http://127.0.0.1:3000"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if password != "" {
		req.SetBasicAuth("admin", password)
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: s.dial}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask Grafana for %s: %w", path, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("it says %s", resp.Status)
	}
	if err == nil {
		err = json.Unmarshal(answer, into)
	}
	if err != nil {
		return fmt.Errorf("ask Grafana for %s: %w: %s", path, err, tail(string(answer), 300))
	}
	return nil
}

// grafanaHasBoards logs in and looks for the provisioned dashboards.
func (s *stack) grafanaHasBoards(password string) error {
	var boards []struct{ UID, FolderTitle string }
	if err := s.grafana(password, "/api/search?type=dash-db", nil, &boards); err != nil {
		return err
	}
	for _, b := range boards {
		if b.UID == "pgr-overview" && (b.FolderTitle == "PostgreSQL reliability" || !hasGrafana()) {
			return nil
		}
	}
	return fmt.Errorf("Grafana has the boards %+v", boards)
}

// grafanaIsProvisioned looks at what only a real Grafana has.
func grafanaIsProvisioned(t *testing.T, s *stack) {
	t.Helper()
	password := s.secret("grafana_password")
	var answer json.RawMessage
	if err := s.grafana("", "/api/search", nil, &answer); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("without a login: %v", err)
	}
	var sources []struct{ UID, Type, URL string }
	if err := s.grafana(password, "/api/datasources", nil, &sources); err != nil || len(sources) != 2 {
		t.Errorf("data sources %+v, %v", sources, err)
	}
	// What its pages on alerts ask: the rules from Prometheus, who is told from Alertmanager.
	for path, want := range map[string]string{
		"/api/prometheus/pgr-prometheus/api/v1/rules":        "PostgresDown",
		"/api/alertmanager/pgr-alertmanager/api/v2/silences": "[]",
	} {
		if err := s.grafana(password, path, nil, &answer); err != nil || !strings.Contains(string(answer), want) {
			t.Errorf("%s: %v: %s", path, err, tail(string(answer), 300))
		}
	}
	logs := s.run("logs", s.container("grafana"))
	for line := range strings.Lines(logs) {
		if strings.Contains(line, "level=error") && !strings.Contains(line, "invalid username or password") {
			t.Errorf("Grafana complains: %s", line)
		}
	}
}

// board is what the test needs of a dashboard.
type board struct {
	UID    string
	Panels []struct {
		Title   string
		Targets []query
	}
}

// query is one that a panel asks: of the whole time shown where Range is set, and of its end elsewhere.
type query struct {
	Expr  string
	Range bool
}

// grafanaOpens loads a board as Grafana's page does.
func (s *stack) grafanaOpens(uid string) (board, error) {
	var answer struct {
		Dashboard board
		Meta      struct{ Provisioned bool }
	}
	err := s.grafana(s.secret("grafana_password"), "/api/dashboards/uid/"+uid, nil, &answer)
	if err == nil && !answer.Meta.Provisioned {
		err = errors.New("it can be changed in the browser, and the change is lost")
	}
	return answer.Dashboard, err
}

// grafanaQuery asks through Grafana's data source, as a panel does: Grafana puts in its own variables, such as
// $__rate_interval. The answer is whether there are any data.
func (s *stack) grafanaQuery(q query) (bool, error) {
	var answer struct {
		Results map[string]struct {
			Error  string
			Frames []struct {
				Data struct{ Values []json.RawMessage }
			}
		}
	}
	err := s.grafana(s.secret("grafana_password"), "/api/ds/query", map[string]any{
		"from": "now-1h", "to": "now",
		"queries": []any{map[string]any{
			"refId": "A", "datasource": map[string]string{"uid": "pgr-prometheus"}, "expr": q.Expr, "instant": !q.Range, "range": q.Range,
			"intervalMs": 15000, "maxDataPoints": 500,
		}},
	}, &answer)
	if err != nil {
		return false, err
	}
	a := answer.Results["A"]
	if a.Error != "" {
		return false, errors.New(a.Error)
	}
	for _, f := range a.Frames {
		if len(f.Data.Values) > 1 && string(f.Data.Values[1]) != "[]" {
			return true, nil
		}
	}
	return false, nil
}
