package pages

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

// Pages is all that was ever seen on real pages.
type Pages struct {
	mu sync.Mutex
	// Types by metric, and Series: the labels of each.
	Types  map[string]string
	Series map[string][]map[string]string
}

// New is without pages.
func New() *Pages {
	return &Pages{Types: map[string]string{}, Series: map[string][]map[string]string{}}
}

// Add adds what was gathered.
func (p *Pages) Add(families map[string]*dto.MetricFamily) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, f := range families {
		p.Types[name] = strings.ToLower(f.GetType().String())
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if m.GetSummary() != nil {
				p.Series[name+"_count"] = append(p.Series[name+"_count"], labels)
				p.Series[name+"_sum"] = append(p.Series[name+"_sum"], labels)
				continue
			}
			if h := m.GetHistogram(); h != nil {
				for _, suffix := range []string{"_count", "_sum"} {
					p.Series[name+suffix] = append(p.Series[name+suffix], labels)
				}
				for _, b := range h.GetBucket() {
					bucket := map[string]string{"le": fmt.Sprint(b.GetUpperBound())}
					for k, v := range labels {
						bucket[k] = v
					}
					p.Series[name+"_bucket"] = append(p.Series[name+"_bucket"], bucket)
				}
				continue
			}
			p.Series[name] = append(p.Series[name], labels)
		}
	}
}

func (p *Pages) text(text string) error {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err == nil {
		p.Add(families)
	}
	return err
}

// Scrape reads a page until nothing that is wanted is missing on it.
func (p *Pages) Scrape(t testing.TB, url string, wanted ...string) {
	t.Helper()
	pgtest.Eventually(t, 60*time.Second, func() error {
		page, err := stack.Get(url + "/metrics")
		if err != nil {
			return err
		}
		var errs []error
		for _, w := range wanted {
			if !strings.Contains(page, w) {
				errs = append(errs, fmt.Errorf("%s is not on the page", w))
			}
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		return p.text(page)
	})
}

// Clone is for pages of which only some are shared.
func (p *Pages) Clone() *Pages {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := New()
	c.Types = maps.Clone(p.Types)
	for name, series := range p.Series {
		c.Series[name] = slices.Clip(series)
	}
	return c
}
