package web

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status/gather"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status/page"
)

// Status tells all there is to know for people; *gather.Gatherer is one. It answers at once.
type Status interface {
	Status(ctx context.Context, now time.Time, judged gather.Judged, windows gather.Windows) status.Status
}

// statusHandler serves the status page and GET /api/status.
type statusHandler struct {
	health *health
	people People
	logger log.Logger
	pprof  bool
	listed func() []string // the targets of the fleet's file
	page   *page.Page
}

func newStatusHandler(h *health, o Options) *statusHandler {
	return &statusHandler{health: h, people: o.People, logger: o.Logger, pprof: o.PProf, listed: o.fleetNames, page: page.New()}
}

func (h *statusHandler) answer(ctx context.Context, windows gather.Windows) status.Status {
	v := h.health.judge()
	return h.people.Status.Status(ctx, h.health.now(), h.health.judged(v), windows)
}

// servePage is GET /.
func (h *statusHandler) servePage(w http.ResponseWriter, r *http.Request) {
	var document bytes.Buffer
	view := h.people.StatusView
	view.Paused, view.PProf, view.Fleet = r.URL.Query().Has("pause"), h.pprof, h.listed()
	if h.people.Incidents != nil {
		view.Incidents = h.people.Incidents.List()
	}
	err := h.page.Render(&document, h.answer(r.Context(), gather.Windows{Hour: true, Day: true, Month: true}), view)
	writePage(w, h.logger, "the status page", &document, err)
}

// serveJSON is GET /api/status.
func (h *statusHandler) serveJSON(w http.ResponseWriter, r *http.Request) {
	windows, err := parseHistory(r.URL.Query()["history"])
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, h.logger, "The status", h.answer(r.Context(), windows))
}

// parseHistory reads which windows are wanted bucket by bucket: all, unless some are named.
func parseHistory(names []string) (gather.Windows, error) {
	if len(names) == 0 {
		return gather.Windows{Hour: true, Day: true, Month: true}, nil
	}
	var windows gather.Windows
	for _, name := range names {
		switch name {
		case "hour":
			windows.Hour = true
		case "day":
			windows.Day = true
		case "month":
			windows.Month = true
		case "none":
		default:
			return windows, fmt.Errorf("there is no history %.40q. HINT: Ask for hour, day, month or none, such as ?history=hour", name)
		}
	}
	return windows, nil
}

// judged is the verdict in the status' words.
func (h *health) judged(v verdict) gather.Judged {
	out := gather.Judged{State: status.State{Status: string(v.Status), Reason: string(v.Reason), Message: v.Message,
		Since: timeOrNil(v.Since)}}
	if start := v.snapshot.OutageStart; v.Status == probe.StatusDown && !start.IsZero() {
		out.State.Since = timeOrNil(start) // its reasons may change meanwhile
	}
	now := h.now()
	for _, kind := range probeOrder {
		r, on := v.snapshot.Probes[kind]
		if !on {
			continue
		}
		c := h.check(v.snapshot, kind, r, now)
		out.Probes = append(out.Probes, status.Probe{
			Name: c.Name, Status: c.Status, Reason: c.Reason, Since: c.Since, CheckedAt: c.CheckedAt, LatencySeconds: c.Latency, Error: c.Error,
		})
	}
	if v.Status == probe.StatusDown || v.Status == probe.StatusDegraded {
		out.State.Cause = cause(v.snapshot)
	}
	return out
}

// cause is the error of the first probe that fails.
func cause(s probe.Snapshot) string {
	for _, kind := range probeOrder {
		if r := s.Probes[kind]; !r.At.IsZero() && r.Reason != postgres.OK {
			return r.Error
		}
	}
	return ""
}
