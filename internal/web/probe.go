package web

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/pg-reliability/pg_reliability_exporter/internal/fleet"
)

// probeHandler serves /probe?target=NAME, or target=host:port/database&auth_module=NAME: the page that /metrics is for one
// server, of a server of the fleet. A target that is down has a page, too; what has none is a request that is wrong.
type probeHandler struct {
	fleet *fleet.Fleet
	pages *pages
}

func (h *probeHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	scrape, err := h.fleet.Scrape(query.Get("target"), query.Get("auth_module"))
	if err != nil {
		http.Error(w, err.Error(), probeStatus(err))
		return
	}
	defer scrape.Release()
	h.pages.serve(w, r, query.Get("target")+" "+query.Get("auth_module"), scrape, scrape.Always())
}

func probeStatus(err error) int {
	if e := (&fleet.Error{}); errors.As(err, &e) {
		switch e.Problem {
		case fleet.Denied:
			return http.StatusForbidden
		case fleet.Full:
			return http.StatusServiceUnavailable
		}
	}
	return http.StatusBadRequest
}

// targetsHandler serves the listed targets in the form of Prometheus' http_sd_configs, with everything a scrape
// configuration would otherwise have to relabel. We are to be scraped where we were asked. With ?shard=3/20 it is one of so many parts, for
// as many servers of Prometheus.
type targetsHandler struct{ fleet *fleet.Fleet }

type targetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

func (h *targetsHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	part, err := parseShard(r.URL.Query().Get("shard"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	groups := []targetGroup{}
	for _, t := range h.fleet.Listed() {
		if !part.has(t.Name) {
			continue
		}
		labels := map[string]string{"__metrics_path__": "/probe", "__param_target": t.Name, "instance": t.Name, "exporter": r.Host}
		for name, value := range t.Labels {
			labels[name] = value
		}
		groups = append(groups, targetGroup{Targets: []string{r.Host}, Labels: labels})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(groups) // the client may have left; there is nobody to tell
}
