package web

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// mergeFamilies makes one page of several lists, sorted by name. A name that is in more than one list becomes one
// family; a metric with labels that were seen already is left out, and so is a family whose type differs
// from an earlier list's. The page is always fit to be served; the error tells what was left out.
// The given families are not changed: other scrapes may be reading them.
func mergeFamilies(lists ...[]*metric.Family) ([]*metric.Family, error) {
	var (
		page   []*metric.Family
		place  = map[string]int{}
		copied = map[string]*dto.MetricFamily{} // what is in more than one list
		labels = map[string]map[string]struct{}{}
		errs   []error
	)
	for _, list := range lists {
		for _, family := range list {
			name := family.Name
			i, met := place[name]
			switch {
			case !met:
				place[name] = len(page)
				page = append(page, family)
				continue
			case page[i].Type != family.Type:
				errs = append(errs, fmt.Errorf("metric %s is left out where its type is %s: it is %s already", name, family.Type, page[i].Type))
				continue
			}
			if copied[name] == nil {
				copied[name], labels[name] = copyFamily(page[i])
			}
			for _, m := range family.DTO().Metric {
				key := labelKey(m)
				if _, twice := labels[name][key]; twice {
					errs = append(errs, fmt.Errorf("metric %s{%s} is there twice: the second is left out", name, key))
					continue
				}
				labels[name][key] = struct{}{}
				copied[name].Metric = append(copied[name].Metric, m)
			}
		}
	}
	for name, family := range copied {
		page[place[name]] = metric.FromDTO([]*dto.MetricFamily{family})[0]
	}
	slices.SortFunc(page, func(a, b *metric.Family) int { return cmp.Compare(a.Name, b.Name) })
	return page, errors.Join(errs...)
}

func copyFamily(f *metric.Family) (*dto.MetricFamily, map[string]struct{}) {
	own := f.DTO()
	labels := make(map[string]struct{}, len(own.Metric))
	for _, m := range own.Metric {
		labels[labelKey(m)] = struct{}{}
	}
	return own, labels
}

// labelKey is the labels as text, whatever order they are in.
func labelKey(m *dto.Metric) string {
	pairs := make([]string, 0, len(m.Label))
	for _, l := range m.Label {
		pairs = append(pairs, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}
