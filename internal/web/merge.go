package web

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// mergeFamilies makes one page of several lists, sorted by name. A name that is in more than one list becomes one
// family; a metric with labels that were seen already is left out, and so is a family whose type differs
// from an earlier list's. The page is always fit to be served; the error tells what was left out.
// The given families are not changed: other scrapes may be reading them.
func mergeFamilies(lists ...[]*dto.MetricFamily) ([]*dto.MetricFamily, error) {
	var (
		page  []*dto.MetricFamily
		place = map[string]int{}
		owned = map[string]map[string]struct{}{} // labels in the families that were copied
		errs  []error
	)
	for _, list := range lists {
		for _, family := range list {
			if family == nil || len(family.Metric) == 0 { // the text format has no empty family
				continue
			}
			name := family.GetName()
			i, met := place[name]
			switch {
			case !met:
				place[name] = len(page)
				page = append(page, family)
				continue
			case page[i].GetType() != family.GetType():
				errs = append(errs, fmt.Errorf("metric %s is left out where its type is %s: it is %s already", name, family.GetType(), page[i].GetType()))
				continue
			}
			if owned[name] == nil {
				page[i], owned[name] = copyFamily(page[i])
			}
			for _, m := range family.Metric {
				key := labelKey(m)
				if _, twice := owned[name][key]; twice {
					errs = append(errs, fmt.Errorf("metric %s{%s} is there twice: the second is left out", name, key))
					continue
				}
				owned[name][key] = struct{}{}
				page[i].Metric = append(page[i].Metric, m)
			}
		}
	}
	slices.SortFunc(page, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return page, errors.Join(errs...)
}

func copyFamily(f *dto.MetricFamily) (*dto.MetricFamily, map[string]struct{}) {
	labels := make(map[string]struct{}, len(f.Metric))
	for _, m := range f.Metric {
		labels[labelKey(m)] = struct{}{}
	}
	return &dto.MetricFamily{
		Name: f.Name, Help: f.Help, Type: f.Type, Unit: f.Unit,
		Metric: slices.Clone(f.Metric),
	}, labels
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
