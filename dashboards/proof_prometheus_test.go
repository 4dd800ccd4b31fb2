package dashboards_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

// proofPrometheus is asked what Grafana would ask it.
type proofPrometheus struct{ url string }

// series is one line of an answer; its values are as Prometheus writes them.
type proofSeries struct {
	Metric map[string]string
	Value  []any
	Values [][]any
}

func (p *proofPrometheus) get(path string, query url.Values, data any) error {
	text, err := stack.Get(p.url + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), &struct{ Data any }{data})
}

func (p *proofPrometheus) labelValues(selector, label string) ([]string, error) {
	query := url.Values{}
	if selector != "" {
		query.Set("match[]", selector)
	}
	var all []string
	err := p.get("/api/v1/label/"+label+"/values", query, &all)
	return all, err
}

func (p *proofPrometheus) instant(expr string) ([]proofSeries, error) { return p.at(time.Now(), expr) }

// at asks as of a moment, so that several questions are of the same samples.
func (p *proofPrometheus) at(moment time.Time, expr string) ([]proofSeries, error) {
	var data struct{ Result []proofSeries }
	err := p.get("/api/v1/query", url.Values{"query": {expr}, "time": {unix(moment)}}, &data)
	return data.Result, err
}

// span asks over the time until now.
func (p *proofPrometheus) span(expr string, back, step time.Duration) ([]proofSeries, error) {
	end := time.Now().Truncate(step)
	var data struct{ Result []proofSeries }
	err := p.get("/api/v1/query_range", url.Values{
		"query": {expr}, "start": {unix(end.Add(-back))}, "end": {unix(end)}, "step": {unix(time.Unix(0, 0).Add(step))},
	}, &data)
	return data.Result, err
}

func unix(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

// texts are the series of a query as Grafana's query_result shows them.
func (p *proofPrometheus) texts(expr string) ([]string, error) {
	found, err := p.instant(expr)
	var all []string
	for _, s := range found {
		text := s.Metric["__name__"] + "{"
		for k, v := range s.Metric {
			if k != "__name__" {
				text += fmt.Sprintf("%s=%q,", k, v)
			}
		}
		all = append(all, fmt.Sprintf("%s} %v", text, s.Value[1]))
	}
	return all, err
}

// hasData says whether there is one value that is a number.
func hasData(found []proofSeries) bool {
	for _, s := range found {
		if len(s.Value) == 2 && s.Value[1] != "NaN" {
			return true
		}
		for _, v := range s.Values {
			if len(v) == 2 && v[1] != "NaN" {
				return true
			}
		}
	}
	return false
}
