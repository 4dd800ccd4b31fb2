package status

import (
	"encoding/json"
	"math"
	"testing"
	"time"
)

// One impossible number or time costs itself, not the answer.
func TestWhatNoAnswerCanHoldIsDropped(t *testing.T) {
	nan, inf, fine := math.NaN(), math.Inf(1), 0.5
	early, late, now := time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC), time.UnixMicro(math.MaxInt64), time.Unix(1e9, 0).UTC()
	s := Status{
		GeneratedAt: now, MeasuredAt: &early, State: State{Since: &now},
		Server:  &Server{StartedAt: &late},
		Volumes: []Volume{{UsedRatio: &nan}, {UsedRatio: &fine}},
		Probes:  []Probe{{LatencySeconds: &inf}},
	}
	if _, err := json.Marshal(s); err == nil {
		t.Fatal("it could be encoded as it was")
	}
	Presentable(&s)
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if s.MeasuredAt != nil || s.Server.StartedAt != nil || s.Volumes[0].UsedRatio != nil || s.Probes[0].LatencySeconds != nil {
		t.Errorf("still there: %s", text)
	}
	if s.State.Since == nil || !s.GeneratedAt.Equal(now) || *s.Volumes[1].UsedRatio != fine {
		t.Errorf("dropped, too: %s", text)
	}
}

func TestLengthsWithoutEnd(t *testing.T) {
	for _, seconds := range []float64{math.Inf(-1), math.Inf(1), math.NaN(), -math.MaxFloat64} {
		_ = Lasting(seconds)
	}
	_ = Size(math.MinInt64)
}
