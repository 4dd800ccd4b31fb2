package web

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
)

// encodersAtOnce bounds how many pages are encoded at the same time. It takes the CPU milliseconds, and about 1 MB
// while it lasts: clients that come all at once must not each cost that.
const encodersAtOnce = 2

// Engine collects what a scrape asks for; *collector.Engine is one.
type Engine interface {
	// Select checks names of collectors; its error lists the right ones.
	Select(include, exclude []string) (collector.Selection, error)
	// Gather returns before ctx's deadline, with what there is by then.
	Gather(ctx context.Context, s collector.Selection) []*dto.MetricFamily
}

// metricsHandler serves /metrics: what the engine collects for this request and what the gatherer always has.
type metricsHandler struct {
	engine   Engine
	gatherer prometheus.Gatherer
	offset   time.Duration
	logger   log.Logger
	encoders chan struct{}
	errors   *prometheus.CounterVec
}

func newMetricsHandler(o Options) http.Handler {
	h := &metricsHandler{
		engine:   o.Engine,
		gatherer: o.Gatherer,
		offset:   o.TimeoutOffset,
		logger:   o.Logger,
		encoders: make(chan struct{}, encodersAtOnce),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promhttp_metric_handler_errors_total",
			Help: "Total number of internal errors encountered by the promhttp metric handler.",
		}, []string{"cause"}),
	}
	h.errors.WithLabelValues("gathering")
	h.errors.WithLabelValues("encoding")
	if o.Registerer == nil {
		return h
	}
	o.Registerer.MustRegister(h.errors)
	return promhttp.InstrumentMetricHandler(o.Registerer, h)
}

func (h *metricsHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	selection, err := h.engine.Select(query["collect[]"], query["exclude[]"])
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), scrapeBudget(r.Header, h.offset))
	families := h.engine.Gather(ctx, selection)
	cancel()

	// What the prober and the process count comes last: it is fast, and newest then.
	always, err := h.gatherer.Gather()
	h.note("gathering", err)
	families, err = mergeFamilies(families, always)
	h.note("gathering", err)

	select {
	case h.encoders <- struct{}{}:
	case <-r.Context().Done(): // the client has left
		return
	}
	page := h.encode(r, families)
	<-h.encoders
	page.writeTo(w) // outside: a slow reader holds its own page, and no encoder
}

// encode negotiates the format (text, OpenMetrics, protobuf with native histograms) and gzip. zstd is left out: the
// library's encoder takes 9.6 MB for each page, gzip's 0.9 MB, and Prometheus asks for gzip alone.
func (h *metricsHandler) encode(r *http.Request, families []*dto.MetricFamily) *bufferedPage {
	page := &bufferedPage{header: http.Header{}, status: http.StatusOK}
	promhttp.HandlerFor(
		prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil }),
		promhttp.HandlerOpts{
			ErrorHandling:       promhttp.ContinueOnError,
			ErrorLog:            encodingErrors{h},
			EnableOpenMetrics:   true,
			OfferedCompressions: []promhttp.Compression{promhttp.Identity, promhttp.Gzip},
		},
	).ServeHTTP(page, r)
	return page
}

// note counts and logs what did not make it to the page; the page is served without it.
func (h *metricsHandler) note(cause string, err error) {
	if err == nil {
		return
	}
	h.errors.WithLabelValues(cause).Inc()
	level.Error(h.logger).Log("msg", "a part of the metrics page is missing", "cause", cause, "err", err)
}

// encodingErrors takes promhttp's complaints.
type encodingErrors struct{ h *metricsHandler }

func (e encodingErrors) Println(v ...any) {
	for _, x := range v {
		if err, ok := x.(error); ok {
			e.h.note("encoding", err)
			return
		}
	}
	e.h.note("encoding", errors.New("unknown"))
}

// bufferedPage is a response that is kept until it is complete.
type bufferedPage struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (p *bufferedPage) Header() http.Header         { return p.header }
func (p *bufferedPage) WriteHeader(status int)      { p.status = status }
func (p *bufferedPage) Write(b []byte) (int, error) { return p.body.Write(b) }

func (p *bufferedPage) writeTo(w http.ResponseWriter) {
	for name, values := range p.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(p.body.Len()))
	w.WriteHeader(p.status)
	_, _ = p.body.WriteTo(w) // the client may have left; there is nobody to tell
}
