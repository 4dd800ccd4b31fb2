package web

import (
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// family has one gauge for each of the values of its label.
func family(name string, kind dto.MetricType, values ...string) *dto.MetricFamily {
	f := &dto.MetricFamily{Name: proto.String(name), Help: proto.String("Help of " + name + "."), Type: kind.Enum()}
	for i, v := range values {
		m := &dto.Metric{Label: []*dto.LabelPair{{Name: proto.String("l"), Value: proto.String(v)}}}
		switch kind {
		case dto.MetricType_COUNTER:
			m.Counter = &dto.Counter{Value: proto.Float64(float64(i))}
		default:
			m.Gauge = &dto.Gauge{Value: proto.Float64(float64(i))}
		}
		f.Metric = append(f.Metric, m)
	}
	return f
}

func TestMergeFamilies(t *testing.T) {
	shared := family("pg_b", dto.MetricType_GAUGE, "x", "y")
	page, err := mergeFamilies(
		metric.FromDTO([]*dto.MetricFamily{family("pg_c", dto.MetricType_GAUGE, "x"), shared, nil, family("pg_empty", dto.MetricType_GAUGE)}),
		metric.FromDTO([]*dto.MetricFamily{
			family("pg_b", dto.MetricType_GAUGE, "y", "z"), family("pg_a", dto.MetricType_COUNTER, "x"),
			family("pg_c", dto.MetricType_COUNTER, "q"),
		}),
	)
	var got []string
	for _, f := range metric.DTO(page) {
		for _, m := range f.Metric {
			got = append(got, f.GetName()+"{"+m.Label[0].GetValue()+"}")
		}
	}
	if want := "pg_a{x} pg_b{x} pg_b{y} pg_b{z} pg_c{x}"; strings.Join(got, " ") != want {
		t.Errorf("page %s, want %s", got, want)
	}
	if err == nil || !strings.Contains(err.Error(), `pg_b{l="y"} is there twice`) ||
		!strings.Contains(err.Error(), "pg_c is left out where its type is COUNTER") {
		t.Errorf("error %v, want both that were left out", err)
	}
	if len(shared.Metric) != 2 {
		t.Errorf("a family that others may be reading was changed: %v", shared.Metric)
	}
}
