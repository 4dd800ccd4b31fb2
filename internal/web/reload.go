package web

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// Reloader loads the configuration again, one time after the other, and records how it went. A failed reload leaves
// the running configuration as it is: that is the promise of the function it is given.
type Reloader struct {
	load   func(context.Context) error
	logger log.Logger
	now    func() time.Time

	loading sync.Mutex // held while load runs

	mu     sync.Mutex
	ok     bool
	lastOK time.Time
}

// The metrics of reloads.
var (
	declared metric.List

	descReloadOK = declared.Gauge("pg_reliability_config_last_reload_successful",
		"1 if the newest attempt to load the configuration succeeded; 0 means that an older one runs.")
	descReloadedAt = declared.Gauge("pg_reliability_config_last_reload_success_timestamp_seconds",
		"When the running configuration was loaded.")
)

// Declared lists the metrics of reloads, and where the status page is.
func Declared() []*metric.Desc { return slices.Concat(declared, pageInfo) }

// NewReloader is called when the configuration has been loaded for the first time, which counts as a success.
func NewReloader(logger log.Logger, load func(context.Context) error) *Reloader {
	return &Reloader{load: load, logger: logger, now: time.Now, ok: true, lastOK: time.Now()}
}

// Reload loads the configuration and returns what is wrong with it.
func (r *Reloader) Reload(ctx context.Context) error {
	r.loading.Lock()
	defer r.loading.Unlock()
	err := r.load(ctx)
	r.mu.Lock()
	r.ok = err == nil
	if r.ok {
		r.lastOK = r.now()
	}
	r.mu.Unlock()
	if err != nil {
		level.Error(r.logger).Log("msg", "the configuration was not reloaded, the old one runs on", "err", err)
		return err
	}
	level.Info(r.logger).Log("msg", "the configuration was reloaded")
	return nil
}

// Metrics are for the registry. They do not wait for a reload that is under way.
func (r *Reloader) Metrics() prometheus.Collector {
	return metric.NewCollector(declared, func(out *metric.Sink) {
		r.mu.Lock()
		defer r.mu.Unlock()
		out.Bool(descReloadOK, r.ok)
		out.Time(descReloadedAt, r.lastOK)
	})
}

// reloadHandler serves /-/reload. Who asked may leave; a reload that has begun ends all the same.
func reloadHandler(reload func(context.Context) error) http.Handler {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := reload(context.WithoutCancel(r.Context())); err != nil {
			http.Error(w, "The configuration was not reloaded, the old one runs on: "+err.Error(), http.StatusInternalServerError)
			return
		}
		text(w, http.StatusOK, "The configuration was reloaded.")
	})
	// A page in somebody's browser must not be able to reload us.
	return http.NewCrossOriginProtection().Handler(h)
}
