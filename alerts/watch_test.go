package alerts_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

// watch is a user's monitoring: Prometheus, Alertmanager, and whoever is told.
type watch struct {
	mode         mode
	prometheus   *stack.Process
	alertmanager *stack.Process

	mu       sync.Mutex
	targets  map[string][]target // by cluster
	file     string              // Prometheus' list of targets
	told     []notice
	watchdog time.Time // when it was heard last
}

// notice is one alert in one notification.
type notice struct {
	at                          time.Time
	receiver, cluster, instance string
	alert, severity             string
	resolved                    bool
	labels                      map[string]string
}

var intervals = regexp.MustCompile(`(group_wait|group_interval|repeat_interval|resolve_timeout): (\d+[smh])`)

func newWatch(t *testing.T, m mode) *watch {
	t.Helper()
	w := &watch{mode: m, targets: map[string][]target{}}
	dir := t.TempDir()
	receiver := httptest.NewServer(w)
	t.Cleanup(receiver.Close)
	am, prom := freeAddress(t), freeAddress(t)
	w.alertmanager = startAlertmanager(t, dir, am, receiver.URL, func(config string) string {
		return intervals.ReplaceAllStringFunc(config, func(s string) string {
			key, text, _ := strings.Cut(s, ": ")
			d, err := time.ParseDuration(text)
			if err != nil || m.compress == 1 || d == 0 {
				return s
			}
			return fmt.Sprintf("%s: %dms", key, max(m.scaled(d), time.Second).Milliseconds())
		})
	})
	w.file = filepath.Join(dir, "targets.json")
	w.publish(t)
	config := prometheusConfig(prom, am, writeRules(t, dir, m.compress), nil, m.scrape)
	config = strings.Replace(config, "static_configs:\n      []\n", fmt.Sprintf("file_sd_configs: [{files: [%q], refresh_interval: 1s}]\n",
		w.file), 1)
	// An Alertmanager that was killed knows nothing until Prometheus tells it again, which is every minute.
	w.prometheus = startPrometheus(t, dir, prom, config, "--rules.alert.resend-delay="+max(m.scaled(time.Minute), 5*time.Second).String())
	return w
}

// ServeHTTP takes Alertmanager's webhooks, one path a receiver.
func (w *watch) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	var message struct {
		Alerts []struct {
			Status string
			Labels map[string]string
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
		http.Error(out, err.Error(), http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range message.Alerts {
		if r.URL.Path == "/deadman" {
			w.watchdog = time.Now()
			continue
		}
		w.told = append(w.told, notice{
			at: time.Now(), receiver: strings.TrimPrefix(r.URL.Path, "/"), cluster: a.Labels["cluster"], instance: a.Labels["instance"],
			alert: a.Labels["alertname"], severity: a.Labels["severity"], resolved: a.Status == "resolved", labels: a.Labels,
		})
	}
}

func (w *watch) heardWithin(d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if since := time.Since(w.watchdog); since > d {
		return fmt.Errorf("Watchdog was heard %s ago", since)
	}
	return nil
}

func (w *watch) watch(t testing.TB, targets []target) {
	t.Helper()
	w.mu.Lock()
	w.targets[targets[0].cluster] = targets
	w.mu.Unlock()
	w.publish(t)
}

func (w *watch) unwatch(cluster string) {
	w.mu.Lock()
	delete(w.targets, cluster)
	w.mu.Unlock()
	_ = w.write()
}

func (w *watch) publish(t testing.TB) {
	t.Helper()
	if err := w.write(); err != nil {
		t.Fatal(err)
	}
}

func (w *watch) write() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	type entry struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	all := []entry{}
	for _, targets := range w.targets {
		for _, t := range targets {
			all = append(all, entry{[]string{t.address}, map[string]string{"cluster": t.cluster, "instance": t.instance}})
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	tmp := w.file + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, w.file)
}

// query returns the series of an instant query.
func (w *watch) query(expr string) ([]map[string]string, error) {
	text, err := stack.Get(w.prometheus.URL + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Result []struct{ Metric map[string]string }
		}
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return nil, err
	}
	var all []map[string]string
	for _, r := range answer.Data.Result {
		all = append(all, r.Metric)
	}
	return all, nil
}

// holds waits until a query has exactly so many series.
func (w *watch) holds(t testing.TB, within time.Duration, n int, expr string) {
	t.Helper()
	pgtest.Eventually(t, within, func() error {
		time.Sleep(100 * time.Millisecond) // Prometheus has others to answer
		series, err := w.query(expr)
		if err == nil && len(series) != n {
			err = fmt.Errorf("%s has %d series, want %d: %v", expr, len(series), n, series)
		}
		return err
	})
}

// ofTheTest are alerts that a test's fault may raise. The installed server may lack minor releases, which is true and nobody's fault here.
const ofTheTest = `alertname!="PostgresMinorReleaseBehind"`

// waitCalm waits until the servers were seen up several times, so that counters have a past, and nothing is wrong.
func (w *watch) waitCalm(t testing.TB, cluster string, n int) {
	t.Helper()
	within := 20*w.mode.scrape + 30*time.Second
	w.holds(t, within, n, fmt.Sprintf(
		`count_over_time(pg_reliability_restarts_total{cluster=%q, kind="crash"}[5m]) >= 3 and on (instance) pg_up == 1`, cluster))
	w.holds(t, within, n, fmt.Sprintf(`pg_reliability_server_info{cluster=%q}`, cluster))
	w.holds(t, within, 0, fmt.Sprintf(`ALERTS{cluster=%q, %s}`, cluster, ofTheTest))
}

// waitWell waits until the server is up, a scrape has shown it, and nothing is about to fire.
func (w *watch) waitWell(t testing.TB, cluster string) {
	t.Helper()
	w.holds(t, 10*w.mode.scrape+time.Minute, 1,
		fmt.Sprintf(`pg_up{cluster=%q, instance=%[1]q} == 1 and on (instance) pg_reliability_outage_in_progress_seconds == 0`, cluster))
	// Recordings and alerts are evaluated after that scrape, too.
	w.holds(t, 10*w.mode.scrape+time.Minute, 0,
		fmt.Sprintf(`ALERTS{cluster=%q, alertstate="pending", %[2]s} or (time() - timestamp(pg_up{cluster=%[1]q}) > 2 * %[3]f)`, cluster,
			ofTheTest, w.mode.scrape.Seconds()))
}

// waitFor returns how long after a moment a notification came.
func (w *watch) waitFor(s *scene, a alarm, resolved bool, since time.Time, within time.Duration) time.Duration {
	s.Helper()
	cluster := s.fault.name
	instance := a.instance
	switch instance {
	case "":
		instance = cluster
	case noInstance:
		instance = ""
	}
	var took time.Duration
	pgtest.Eventually(s, within, func() error {
		if s.exporter.Died() {
			s.Fatalf("the exporter ended by itself")
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		i := slices.IndexFunc(w.told, func(n notice) bool {
			return n.at.After(since) && n.cluster == cluster && n.alert == a.name && n.severity == a.severity && n.receiver == a.receiver() &&
				n.resolved == resolved && n.instance == instance
		})
		if i >= 0 {
			took = w.told[i].at.Sub(since)
			return nil
		}
		return fmt.Errorf("%s: no word of %+v (resolved: %v); heard: %s", cluster, a, resolved, w.heard(cluster))
	})
	return took
}

// heard needs mu.
func (w *watch) heard(cluster string) string {
	var all []string
	for _, n := range w.told {
		if n.cluster == cluster {
			all = append(all, fmt.Sprintf("%s %s/%s to %s of %s, resolved: %v", n.at.Format("15:04:05"), n.alert, n.severity, n.receiver, n.instance,
				n.resolved))
		}
	}
	return strings.Join(all, "; ")
}

// nothingElse fails when people heard of anything but what the fault allows.
func (w *watch) nothingElse(t testing.TB, f fault, since time.Time) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, n := range w.told {
		if n.cluster != f.name || n.at.Before(since) || n.resolved || slices.Contains(f.may, n.alert) ||
			slices.ContainsFunc(f.want, func(a alarm) bool { return a.name == n.alert && a.severity == n.severity }) {
			continue
		}
		errs = append(errs, fmt.Errorf("%s %s/%s reached %s: %v", n.at.Format(time.TimeOnly), n.alert, n.severity, n.receiver, n.labels))
	}
	if err := errors.Join(errs...); err != nil {
		t.Errorf("beyond what %s may cause:\n%v", f.name, err)
	}
}
