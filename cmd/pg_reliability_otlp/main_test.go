package main

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

// receiver takes OTLP as a collector does, from those who have its token.
type receiver struct {
	mu    sync.Mutex
	token string
	// got are the newest metrics by service.instance.id, by name.
	got       map[string]map[string]*metricspb.Metric
	clusters  map[string]string
	strangers int
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if req.Header.Get("Authorization") != "Bearer "+r.token {
		r.strangers++
		http.Error(w, "who are you?", http.StatusForbidden)
		return
	}
	body := io.Reader(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" {
		var err error
		if body, err = gzip.NewReader(body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	text, err := io.ReadAll(body)
	var is collectorpb.ExportMetricsServiceRequest
	if err = errors.Join(err, proto.Unmarshal(text, &is)); err != nil || req.URL.Path != "/v1/metrics" {
		http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
		return
	}
	for _, of := range is.ResourceMetrics {
		name := attribute(of.Resource.Attributes, "service.instance.id")
		r.clusters[name] = attribute(of.Resource.Attributes, "cluster")
		r.got[name] = map[string]*metricspb.Metric{}
		for _, scope := range of.ScopeMetrics {
			for _, m := range scope.Metrics {
				r.got[name][m.Name] = m
			}
		}
	}
	answer, _ := proto.Marshal(&collectorpb.ExportMetricsServiceResponse{})
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(answer)
}

func attribute(all []*commonpb.KeyValue, name string) string {
	for _, a := range all {
		if a.Key == name {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// of are the names and numbers of series that it has of an instance.
func (r *receiver) of(instance string) map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]int{}
	for name, m := range r.got[instance] {
		out[name] = len(m.GetGauge().GetDataPoints()) + len(m.GetSum().GetDataPoints()) + len(m.GetHistogram().GetDataPoints()) +
			len(m.GetSummary().GetDataPoints())
	}
	return out
}

// value is that of a gauge without labels.
func (r *receiver) value(instance, name string) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.got[instance][name].GetGauge().GetDataPoints() {
		return p.GetAsDouble()
	}
	return -1
}

// onThePage are the same of a page.
func onThePage(t *testing.T, address string) map[string]int {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for name, f := range families {
		out[name] = len(f.Metric)
	}
	return out
}

// A receiver has every metric of the exporter's pages, by the names and with as many series as Prometheus has them. A token that is
// replaced is used from the next push on, and of an exporter that is dead it is said that it can't be read.
func TestAReceiverHasWhatThePagesHave(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fleet := write("fleet.yml", fmt.Sprintf("auth_modules: {m: {user: %s, password: %s, sslmode: disable}}\ntargets: [{name: shop, address: "+
		"'127.0.0.1:%d', auth_module: m, labels: {cluster: eu}}]\n", pgtest.Monitor, pgtest.Password, c.Port))
	e := stack.New(t, "../..").Exporter(t, c.MonitorDSN(), "--state.dir=none", "--config.file="+fleet)
	own := strings.TrimPrefix(e.URL, "http://")

	r := &receiver{token: "first", got: map[string]map[string]*metricspb.Metric{}, clusters: map[string]string{}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	headers := write("headers", "Authorization: Bearer first\n")
	ctx, cancel := context.WithCancel(context.Background())
	var log pgtest.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"--exporter.url=" + e.URL, "--otlp.endpoint=" + server.URL, "--otlp.interval=1s",
			"--otlp.headers-file=" + headers}, func(string) (string, bool) { return "", false }, &log)
	}()
	t.Cleanup(func() {
		cancel()
		if is := <-code; is != exitOK {
			t.Errorf("it ended with %d", is)
		}
		if text := log.String(); t.Failed() || strings.Contains(text, "Bearer") || strings.Contains(text, "second") {
			t.Errorf("its log:\n%s", text)
		}
	})
	for instance, address := range map[string]string{own: e.URL + "/metrics", "shop": e.URL + "/probe?target=shop"} {
		pgtest.Eventually(t, 90*time.Second, func() error {
			there, got := onThePage(t, address), r.of(instance)
			there["up"] = 1 // Prometheus' own
			if len(there) < 100 {
				return fmt.Errorf("%d metrics on the page", len(there))
			}
			for _, name := range slices.Sorted(maps.Keys(there)) {
				if got[name] != there[name] {
					return fmt.Errorf("%s: %d series of %s came, of %d", instance, got[name], name, there[name])
				}
			}
			return nil
		})
	}
	if r.value("shop", "pg_up") != 1 || r.value("shop", "up") != 1 || r.clusters["shop"] != "eu" {
		t.Errorf("pg_up = %v, up = %v, cluster %q", r.value("shop", "pg_up"), r.value("shop", "up"), r.clusters["shop"])
	}

	r.mu.Lock()
	r.token, r.strangers, r.got = "second", 0, map[string]map[string]*metricspb.Metric{}
	r.mu.Unlock()
	turnedAway := func() int { r.mu.Lock(); defer r.mu.Unlock(); return r.strangers }
	pgtest.Eventually(t, 30*time.Second, func() error {
		if turnedAway() == 0 {
			return errors.New("nobody has tried the old token")
		}
		return nil
	})
	write("headers", "Authorization: Bearer second\n")
	pgtest.Eventually(t, 30*time.Second, func() error {
		if got := r.of(own); got["pg_up"] != 1 {
			return fmt.Errorf("%d metrics came with the new token", len(got))
		}
		return nil
	})
	e.Kill()
	pgtest.Eventually(t, 30*time.Second, func() error {
		if got := r.of(own); got["up"] != 1 || r.value(own, "up") != 0 || len(got) != 1 {
			return fmt.Errorf("of an exporter that is dead: %v, up %v", got, r.value(own, "up"))
		}
		return nil
	})
}

func TestMistakesAreSaid(t *testing.T) {
	headers := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(headers, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"":                                   "--otlp.endpoint",
		"--otlp.endpoint=collector:4318":     "is not an address. HINT",
		"--otlp.endpoint=http://u:hunter2@h": "HINT: Use --otlp.headers-file",
		"--otlp.endpoint=http://h --exporter.url=http://u:hunter2@h":        "HINT: Use --exporter.username",
		"--otlp.endpoint=http://h --exporter.username=u":                    "go together",
		"--otlp.endpoint=http://h --otlp.interval=1ms":                      "too short. HINT",
		"--otlp.endpoint=http://h --ca-file=" + headers:                     "no certificate",
		"--otlp.endpoint=http://127.0.0.1:1 --otlp.headers-file=" + headers: "headers:1 is no header. HINT",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		var log pgtest.Buffer
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			run(ctx, strings.Fields(args), func(string) (string, bool) { return "", false }, &log)
		}()
		pgtest.Eventually(t, 20*time.Second, func() error {
			if text := log.String(); !strings.Contains(text, want) {
				return fmt.Errorf("%s: it says %q, want %q", args, text, want)
			}
			return nil
		})
		cancel()
		<-ended
		if strings.Contains(log.String(), "hunter2") {
			t.Errorf("%s: a secret is in the log: %s", args, log.String())
		}
	}
}
