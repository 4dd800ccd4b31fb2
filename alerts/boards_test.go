package alerts_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
	"github.com/pg-reliability/pg_reliability_exporter/dashboards"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/painted"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

// numbers are the boards' panels with one number, by the board's file.
func numbers(t testing.TB) map[string][]painted.Panel {
	t.Helper()
	config, err := alerts.Load()
	if err != nil {
		t.Fatal(err)
	}
	files, err := dashboards.Files(config)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]painted.Panel{}
	for name, text := range files {
		panels, err := painted.Panels(text)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = slices.DeleteFunc(panels, func(p painted.Panel) bool { return p.Type != "stat" })
	}
	return all
}

// greenAllTheSame are panels that stay green while an alert fires whose runbook they link to, each with its reason.
var greenAllTheSame = map[string]string{}

// boardsSay waits until each panel with one number that names a firing alert's runbook is painted in anything but green, and the first
// number of Overview in the alert's own colour. It returns which panels it looked at.
func (w *watch) boardsSay(s *scene, boards map[string][]painted.Panel) []string {
	s.Helper()
	var looked []string
	for _, a := range s.fault.want {
		for name, panels := range boards {
			for _, p := range panels {
				about := slices.ContainsFunc(p.Links, func(l struct{ URL string }) bool { return strings.HasSuffix(l.URL, "/"+a.name+".md") })
				counts := name == "overview.json" && p.Title == "Firing alerts" && a.severity == "critical"
				where := fmt.Sprintf("%s: %q beside %s", name, p.Title, a.name)
				if !about && !counts || greenAllTheSame[where] != "" {
					continue
				}
				looked = append(looked, where)
				pgtest.Eventually(s, 20*time.Second, func() error {
					colours, err := w.colours(p, s.fault.name)
					switch {
					case err != nil:
						return err
					case counts && !slices.Contains(colours, "red"):
						return fmt.Errorf("%s is painted %v, want red", where, colours)
					case len(colours) > 0 && !slices.ContainsFunc(colours, func(c string) bool { return c != painted.Fine }):
						return fmt.Errorf("%s is painted %v while the fault lasts", where, colours)
					}
					return nil
				})
			}
		}
	}
	return looked
}

// colours of a panel's numbers as somebody sees them who has chosen a cluster; none where there is no number, which is grey.
func (w *watch) colours(p painted.Panel, cluster string) ([]string, error) {
	var all []string
	for _, q := range p.Targets {
		values, err := w.values(asShown(q.Expr, cluster))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Title, err)
		}
		for _, v := range values {
			colour, err := p.FieldConfig.Colour(q.RefID, v)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.Title, err)
			}
			all = append(all, colour)
		}
	}
	return all, nil
}

// asShown is an expression as Grafana asks it for the last hour of one cluster.
func asShown(expr, cluster string) string {
	return strings.NewReplacer("$__rate_interval", "1m", "$__range_s", "3600", "$__range", "1h", "$__interval", "15s",
		"$job", ".+", "$cluster", cluster, "$instance", ".+").Replace(expr)
}

// values of an instant query that are numbers.
func (w *watch) values(expr string) ([]float64, error) {
	text, err := stack.Get(w.prometheus.URL + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct{ Result []struct{ Value []any } }
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w", expr, err)
	}
	var all []float64
	for _, r := range answer.Data.Result {
		if len(r.Value) != 2 {
			return nil, errors.New("an answer of " + expr + " is no pair of time and value")
		}
		v, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			return nil, fmt.Errorf("the value of %s: %w", expr, err)
		}
		if !math.IsNaN(v) {
			all = append(all, v)
		}
	}
	return all, nil
}
