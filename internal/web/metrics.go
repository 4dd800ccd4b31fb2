package web

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
)

// encodersAtOnce bounds how many pages are encoded at the same time: clients that come all at once must not each cost
// the memory of a compressor.
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
	encoders *encoders
	errors   *prometheus.CounterVec
}

func newMetricsHandler(o Options) http.Handler {
	h := &metricsHandler{
		engine:   o.Engine,
		gatherer: o.Gatherer,
		offset:   o.TimeoutOffset,
		logger:   o.Logger,
		encoders: newEncoders(encodersAtOnce),
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

	e := h.encoders.take(r.Context())
	if e == nil { // the client has left
		return
	}
	page := e.encode(h, r, families)
	h.encoders.giveBack(e)
	page.writeTo(w) // outside: a slow reader holds its own page, and no encoder
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
