package gather

import (
	"fmt"
	"slices"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// Of more slots than are listed, the one that is lost is listed and is a problem, whatever its name.
func TestLostSlotAmongMany(t *testing.T) {
	families := map[string]*dto.MetricFamily{}
	add := func(name string, value float64, labels ...string) {
		f := gaugeFamily(name, value, labels...)
		if families[name] == nil {
			families[name] = f
			return
		}
		families[name].Metric = append(families[name].Metric, f.Metric...)
	}
	add("pg_replication_is_replica", 0)
	for i := range 70 {
		same := []string{"slot_name", fmt.Sprintf("slot%02d", i), "slot_type", "physical"}
		active, lost := 1.0, 0.0
		switch i {
		case 65:
			active = 0
		case 69:
			active, lost = 0, 1
		}
		add("pg_replication_slots_slot_is_active", active, same...)
		add("pg_reliability_slot_invalidated", lost, same...)
	}
	p := page(families)
	e := &engineStub{names: []string{"replication_slots"}}
	for _, f := range p {
		e.families = append(e.families, f)
	}
	g := New(Options{Engine: e, Prober: proberStub{}, Target: func() string { return "db1" }})
	s := g.Status(t.Context(), noon, Judged{}, Windows{})
	r := s.Replication
	if r == nil || *r.SlotCount != 70 || len(r.Slots) != listed || r.Slots[0].Name != "slot69" || r.Slots[1].Name != "slot65" ||
		r.Slots[2].Name != "slot00" {
		t.Fatalf("%+v", r)
	}
	if !slices.ContainsFunc(s.Problems, func(p status.Problem) bool { return p.Alert == "PostgresSlotLost" }) {
		t.Errorf("problems %+v", s.Problems)
	}
}
