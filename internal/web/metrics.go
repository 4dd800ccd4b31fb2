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

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/internal/httpserver"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/quiet"
)

// encodersAtOnce bounds how many pages are encoded at the same time: clients that come all at once must not each cost
// the memory of a compressor.
const encodersAtOnce = 2

// Engine collects what a scrape asks for; *collector.Engine is one.
type Engine interface {
	// Select checks names of collectors; its error lists the right ones.
	Select(include, exclude []string) (collector.Selection, error)
	// Gather returns before ctx's deadline, with what there is by then.
	Gather(ctx context.Context, s collector.Selection) []*metric.Family
}

// pages makes metrics pages: of our own server, and of those of a fleet.
type pages struct {
	offset     time.Duration
	processors *quiet.Processors
	logger     log.Logger
	encoders   *encoders
	shared     *sharing
	turn       chan struct{} // to make a page for people
	errors     *prometheus.CounterVec
}

func newPages(offset time.Duration, processors *quiet.Processors, logger log.Logger) *pages {
	p := &pages{
		offset:     offset,
		processors: processors,
		logger:     logger,
		encoders:   newEncoders(encodersAtOnce),
		shared:     newSharing(),
		turn:       make(chan struct{}, 1),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promhttp_metric_handler_errors_total",
			Help: "Total number of internal errors encountered by the promhttp metric handler.",
		}, []string{"cause"}),
	}
	p.errors.WithLabelValues("gathering")
	p.errors.WithLabelValues("encoding")
	return p
}

// newMetricsHandler serves /metrics: what the engine collects for this request, where there is one, and what the
// gatherer always has. Requests beyond the limit are counted by their status, too.
func newMetricsHandler(o Metrics, p *pages, limit *httpserver.Limit) http.Handler {
	h := limit.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, "", o.Engine, o.Gatherer) }))
	if o.Registerer == nil {
		return h
	}
	o.Registerer.MustRegister(p.errors)
	return promhttp.InstrumentMetricHandler(o.Registerer, h)
}

// serve answers within the time that Prometheus gives, with one page for all who ask for the same within a moment. subject
// tells servers apart; engine may be nil.
func (p *pages) serve(w http.ResponseWriter, r *http.Request, subject string, engine Engine, gatherer prometheus.Gatherer) {
	var selection collector.Selection
	if engine != nil {
		query := r.URL.Query()
		var err error
		if selection, err = engine.Select(query["collect[]"], query["exclude[]"]); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	budget := scrapeBudget(r.Header, p.offset)
	page := p.shared.page(r.Context(), pageKey(r, subject, budget), func(ctx context.Context) (page *bufferedPage) {
		p.processors.Work(func() { page = p.make(ctx, r, budget, selection, engine, gatherer) })
		return page
	})
	p.answer(w, r, page)
}

// make collects and encodes; nil when ctx ends before there is a turn to encode.
func (p *pages) make(
	ctx context.Context, r *http.Request, budget time.Duration, selection collector.Selection, engine Engine, gatherer prometheus.Gatherer,
) *bufferedPage {
	var families []*metric.Family
	if engine != nil {
		ctx, cancel := context.WithTimeout(ctx, budget)
		families = engine.Gather(ctx, selection)
		cancel()
	}

	// What the prober and the process count comes last: it is fast, and newest then.
	always, err := gatherer.Gather()
	p.note("gathering", err)
	families, err = mergeFamilies(families, metric.FromDTO(always))
	p.note("gathering", err)

	e := p.encoders.take(ctx)
	if e == nil {
		return nil
	}
	defer p.encoders.giveBack(e)
	return e.encode(p, r, families)
}

// note counts and logs what did not make it to the page; the page is served without it.
func (p *pages) note(cause string, err error) {
	if err == nil {
		return
	}
	p.errors.WithLabelValues(cause).Inc()
	level.Error(p.logger).Log("msg", "a part of the metrics page is missing", "cause", cause, "err", err)
}

// encodingErrors takes promhttp's complaints.
type encodingErrors struct{ p *pages }

func (e encodingErrors) Println(v ...any) {
	for _, x := range v {
		if err, ok := x.(error); ok {
			e.p.note("encoding", err)
			return
		}
	}
	e.p.note("encoding", errors.New("unknown"))
}
