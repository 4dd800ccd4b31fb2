package web

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/pg-reliability/pg_reliability_exporter/internal/httpserver"
)

func TestMetricsMergesTheEngineAndTheGatherer(t *testing.T) {
	o := options(t)
	o.Engine = &engineStub{families: []*dto.MetricFamily{family("pg_locks_count", dto.MetricType_GAUGE, "a")}}
	registry := prometheus.NewRegistry()
	o.Gatherer, o.Registerer = registry, registry
	again := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "pg_locks_count", Help: "Other help."}, []string{"l"})
	again.WithLabelValues("b").Set(7)
	registry.MustRegister(again)
	s := newServer(t, o)
	resp := get(t, s, "GET", "/metrics")
	page := body(t, resp)
	if resp.StatusCode != 200 || resp.Header.Get("Content-Length") != strconv.Itoa(len(page)) {
		t.Errorf("status %d, length %s of %d", resp.StatusCode, resp.Header.Get("Content-Length"), len(page))
	}
	for _, want := range []string{
		"# HELP pg_locks_count Help of pg_locks_count.\n# TYPE pg_locks_count gauge\npg_locks_count{l=\"a\"} 0\npg_locks_count{l=\"b\"} 7\n",
		"promhttp_metric_handler_requests_in_flight 1\n",
		"promhttp_metric_handler_errors_total{cause=\"gathering\"} 0\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}

// failing has one good family and an error, as a registry with one bad collector has.
type failing struct{}

func (failing) Gather() ([]*dto.MetricFamily, error) {
	return []*dto.MetricFamily{family("good", dto.MetricType_GAUGE, "x")}, errors.New("one collector is broken")
}

func TestMetricsErrorsNeverCostThePage(t *testing.T) {
	o := options(t)
	o.Gatherer = prometheus.Gatherers{o.Gatherer, failing{}}
	broken := family("broken", dto.MetricType_COUNTER, "x")
	broken.Metric[0].Counter = nil // can't be encoded
	o.Engine = &engineStub{families: []*dto.MetricFamily{broken, family("fine", dto.MetricType_GAUGE, "x")}}
	s := newServer(t, o)
	get(t, s, "GET", "/metrics", "Accept-Encoding", "gzip") // counts its own errors for the next
	for _, accept := range []string{"", "application/openmetrics-text; version=1.0.0"} {
		resp := get(t, s, "GET", "/metrics", "Accept", accept)
		page := body(t, resp)
		for _, want := range []string{"good{", "fine{", "promhttp_metric_handler_errors_total{cause=\"gathering\"} ",
			"promhttp_metric_handler_errors_total{cause=\"encoding\"} "} {
			if resp.StatusCode != 200 || !strings.Contains(page, want) {
				t.Errorf("%s: status %d, the page lacks %q:\n%s", accept, resp.StatusCode, want, page)
			}
		}
		if strings.Contains(page, `cause="gathering"} 0`) || strings.Contains(page, `cause="encoding"} 0`) {
			t.Errorf("the errors are not counted:\n%s", page)
		}
	}
}

func TestMetricsNegotiation(t *testing.T) {
	o := options(t)
	registry := prometheus.NewRegistry()
	o.Gatherer, o.Registerer = registry, nil
	latency := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "latency_seconds", Help: "Latency.", Buckets: []float64{0.1}, NativeHistogramBucketFactor: 1.1,
	})
	latency.Observe(0.05)
	registry.MustRegister(latency)
	// A counter named as postgres_exporter does: OpenMetrics wants _total, users want the name.
	o.Engine = &engineStub{families: []*dto.MetricFamily{family("pg_stat_database_xact_commit", dto.MetricType_COUNTER, "x")}}
	s := newServer(t, o)

	const protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
	for name, tc := range map[string]struct{ accept, contentType, has, end string }{
		"text": {"", "text/plain; version=0.0.4", `pg_stat_database_xact_commit{l="x"} 0`, ""},
		"OpenMetrics": {"application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version=1.0.0",
			`pg_stat_database_xact_commit{l="x"} 0`, "# EOF\n"},
		"protobuf": {protobuf, "application/vnd.google.protobuf", "pg_stat_database_xact_commit", ""},
	} {
		t.Run(name, func(t *testing.T) {
			resp := get(t, s, "GET", "/metrics", "Accept", tc.accept)
			page := body(t, resp)
			if !strings.HasPrefix(resp.Header.Get("Content-Type"), tc.contentType) || !strings.Contains(page, tc.has) ||
				!strings.HasSuffix(page, tc.end) {
				t.Errorf("content type %q:\n%q", resp.Header.Get("Content-Type"), page)
			}
		})
	}
	t.Run("native histogram", func(t *testing.T) {
		resp := get(t, s, "GET", "/metrics", "Accept", protobuf)
		decoder := expfmt.NewDecoder(resp.Body, expfmt.ResponseFormat(resp.Header))
		for {
			var f dto.MetricFamily
			if err := decoder.Decode(&f); err != nil {
				t.Fatalf("no native histogram: %v", err)
			}
			if f.GetName() == "latency_seconds" && len(f.Metric[0].Histogram.PositiveSpan) > 0 {
				return
			}
		}
	})
	t.Run("gzip", func(t *testing.T) {
		resp := get(t, s, "GET", "/metrics", "Accept-Encoding", "gzip, zstd")
		if resp.Header.Get("Content-Encoding") != "gzip" {
			t.Fatalf("encoding %q", resp.Header.Get("Content-Encoding"))
		}
		z, err := gzip.NewReader(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if page, err := io.ReadAll(z); err != nil || !strings.Contains(string(page), "latency_seconds_count 1") {
			t.Errorf("%v: %s", err, page)
		}
	})
}

func TestMetricsSelection(t *testing.T) {
	o := options(t)
	engine := &engineStub{}
	o.Engine = engine
	s := newServer(t, o)
	if resp := get(t, s, "GET", "/metrics?collect[]=locks&exclude[]=locks"); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if got := engine.asks[0]; len(got[0]) != 1 || got[0][0] != "locks" || len(got[1]) != 1 || got[1][0] != "locks" {
		t.Errorf("the engine was asked for %v", got)
	}
	resp := get(t, s, "GET", "/metrics?collect[]=nonsense")
	if text := body(t, resp); resp.StatusCode != 400 || !strings.Contains(text, "no collector nonsense. HINT: Choose among locks") {
		t.Errorf("status %d: %s", resp.StatusCode, text)
	}
}

func TestMetricsDeadlineIsTheClients(t *testing.T) {
	o := options(t)
	var left time.Duration
	o.Engine = &engineStub{gather: func(ctx context.Context) {
		deadline, _ := ctx.Deadline()
		left = time.Until(deadline)
	}}
	get(t, newServer(t, o), "GET", "/metrics", scrapeTimeoutHeader, "3")
	if left > 2500*time.Millisecond || left < 2*time.Second {
		t.Errorf("the engine had %s, want 2.5s", left)
	}
}

// stuck is a client that does not read.
type stuck struct {
	http.ResponseWriter
	writing chan<- struct{}
	release <-chan struct{}
}

func (s stuck) Write([]byte) (int, error) {
	s.writing <- struct{}{}
	<-s.release
	return 0, io.ErrClosedPipe
}

func TestMetricsClientsThatDoNotReadHoldNobodyUp(t *testing.T) {
	s := newServer(t, options(t))
	writing, release := make(chan struct{}), make(chan struct{})
	var clients sync.WaitGroup
	for range 2 * encodersAtOnce {
		clients.Go(func() {
			s.Handler().ServeHTTP(stuck{httptest.NewRecorder(), writing, release}, httptest.NewRequest("GET", "/metrics", nil))
		})
	}
	for range 2 * encodersAtOnce {
		<-writing
	}
	if resp := get(t, s, "GET", "/metrics"); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	close(release)
	clients.Wait()
}

func TestMetricsAreEncodedFewAtATime(t *testing.T) {
	registry := prometheus.NewRegistry()
	h := &pages{encoders: newEncoders(1), shared: newSharing()}
	busy := h.encoders.take(t.Context()) // somebody else's page
	ctx, leave := context.WithCancel(t.Context())
	served := make(chan *httptest.ResponseRecorder)
	serve := func(ctx context.Context) {
		w := httptest.NewRecorder()
		h.serve(w, httptest.NewRequestWithContext(ctx, "GET", "/metrics", nil), "", &engineStub{}, registry)
		served <- w
	}
	go serve(ctx)
	leave()
	if w := <-served; w.Body.Len() != 0 { // one that leaves does not wait on
		t.Errorf("a page was made without a turn: %s", w.Body)
	}
	go serve(t.Context())
	select {
	case <-served:
		t.Error("a page was made without a turn")
	case <-time.After(50 * time.Millisecond):
	}
	h.encoders.giveBack(busy)
	<-served
}

const samplesOfMany = 5000

func manyFamilies() []*dto.MetricFamily {
	var families []*dto.MetricFamily
	for f := range 100 {
		labels := make([]string, samplesOfMany/100)
		for i := range labels {
			labels[i] = "database_" + strconv.Itoa(i)
		}
		families = append(families, family("pg_stat_something_"+strconv.Itoa(f), dto.MetricType_COUNTER, labels...))
	}
	return families
}

func BenchmarkMetrics(b *testing.B) {
	for _, encoding := range []string{"identity", "gzip"} {
		b.Run(encoding, func(b *testing.B) {
			registry := prometheus.NewRegistry()
			h := newMetricsHandler(Metrics{Engine: &engineStub{families: manyFamilies()}, Gatherer: registry, Registerer: registry},
				newPages(0, nil, log.NewNopLogger()), httpserver.NewLimit(0))
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest("GET", "/metrics", nil)
				r.Header.Set("Accept-Encoding", encoding)
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}

func TestAcceptEncoding(t *testing.T) {
	for header, want := range map[string]bool{
		"": false, "gzip": true, "GZIP": true, "identity": false, "deflate, gzip;q=1.0, *;q=0.5": true, "gzip;q=0": false,
		"gzip; q=0.0, *": false, "*": true, "br, zstd": false, "gzip;q=nonsense": false,
	} {
		if got := acceptsGzip(http.Header{"Accept-Encoding": {header}}); got != want {
			t.Errorf("Accept-Encoding %q: gzip is %t, want %t", header, got, want)
		}
	}
}
