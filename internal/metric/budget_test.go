package metric_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// keeper is a server that keeps what it may of what it wants.
type keeper struct {
	share *metric.Share
	want  int // samples
	kept  int64
}

func (k *keeper) shrink(most int64) {
	k.kept = min(k.kept, most)
	k.share.Keep(k.kept, metric.Cost(k.want, 0), nil)
}

// run collects, and keeps what it got; it says how many samples that were.
func (k *keeper) run() (got int) {
	r := k.share.Begin(k.kept)
	defer r.End()
	for range k.want {
		if r.Take(0) {
			got++
		}
	}
	k.kept = metric.Cost(got, 0)
	k.share.Keep(k.kept, metric.Cost(k.want, 0), r)
	return got
}

func TestTheLargerIsCutAndNeverTheSmaller(t *testing.T) {
	const total = 10_000
	for name, tc := range map[string]struct{ want, least, most []int }{
		"all fit":                       {[]int{1000, 2000, 7000}, []int{1000, 2000, 6900}, []int{1000, 2000, 7000}},
		"one without end":               {[]int{1000, 90_000, 2000}, []int{1000, 6800, 2000}, []int{1000, 7000, 2000}},
		"the large one came first":      {[]int{90_000, 1000, 4000}, []int{4300, 1000, 4000}, []int{5000, 1000, 4000}},
		"more than an equal share fits": {[]int{90_000, 100, 100, 4000}, []int{5000, 100, 100, 4000}, []int{5800, 100, 100, 4000}},
		"all are large":                 {[]int{50_000, 50_000, 50_000, 50_000}, []int{2100, 2100, 2100, 2100}, []int{2500, 2500, 2500, 2500}},
	} {
		t.Run(name, func(t *testing.T) {
			b := metric.NewBudget(metric.Cost(total, 0))
			var all []*keeper
			for _, want := range tc.want {
				k := &keeper{want: want}
				k.share = b.Join(k.shrink)
				all = append(all, k)
			}
			for round := range 3 {
				sum := 0
				for i, k := range all {
					got := k.run()
					if small := tc.most[i] == tc.want[i]; small && got != k.want {
						t.Errorf("round %d: %d of %d samples of a server that has few", round, got, k.want)
					}
				}
				for i, k := range all {
					kept := int(k.kept / metric.Cost(1, 0))
					sum += kept
					if round > 0 && (kept < tc.least[i] || kept > tc.most[i]) {
						t.Errorf("round %d: server %d keeps %d samples, want %d to %d", round, i, kept, tc.least[i], tc.most[i])
					}
				}
				if sum > total {
					t.Errorf("round %d: %d samples are kept, and the budget has %d", round, sum, total)
				}
			}
		})
	}
}

func TestWhatOneLeavesIsForTheOthers(t *testing.T) {
	b := metric.NewBudget(metric.Cost(1000, 0))
	first, second := &keeper{want: 5000}, &keeper{want: 5000}
	first.share, second.share = b.Join(first.shrink), b.Join(second.shrink)
	first.run()
	second.run()
	first.share.Leave()
	first.kept = 0
	if got := first.run(); got != 0 {
		t.Errorf("who has left got %d samples", got)
	}
	if got := second.run(); got < 950 {
		t.Errorf("the only one left got %d of 1000 samples", got)
	}
}

func TestABudgetIsSafeForManyAtOnce(t *testing.T) {
	b := metric.NewBudget(metric.Cost(5000, 0))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			var mu sync.Mutex
			var share *metric.Share
			kept := int64(0)
			shrink := func(most int64) {
				mu.Lock()
				kept = min(kept, most)
				now := kept
				mu.Unlock()
				share.Keep(now, metric.Cost(i*1000, 0), nil)
			}
			share = b.Join(shrink)
			defer share.Leave()
			for range 20 {
				mu.Lock()
				r := share.Begin(kept)
				mu.Unlock()
				got := 0
				for range i * 1000 {
					if r.Take(0) {
						got++
					}
				}
				mu.Lock()
				kept = metric.Cost(got, 0)
				mu.Unlock()
				share.Keep(metric.Cost(got, 0), metric.Cost(i*1000, 0), r)
			}
		})
	}
	all.Wait()
	last := &keeper{want: 5000}
	last.share = b.Join(last.shrink)
	if got := last.run(); got < 4900 {
		t.Errorf("after all have left, %d samples fit", got)
	}
}

func TestWithoutABudgetAllIsTaken(t *testing.T) {
	k := &keeper{want: 100_000}
	k.share = metric.NewBudget(0).Join(k.shrink)
	if got := k.run(); got != k.want {
		t.Errorf("%d of %d samples", got, k.want)
	}
	k.share.Leave()
}

func TestTheFirstOfABatch(t *testing.T) {
	var list metric.List
	d, e := list.Gauge("d", "D.", "l"), list.Gauge("e", "E.", "l")
	var samples []metric.Sample
	for i := range 10 {
		l := []string{fmt.Sprint(i)}
		samples = append(samples, metric.Sample{Desc: d, Labels: l}, metric.Sample{Desc: e, Labels: l})
	}
	whole := metric.NewPages().Batch(samples, nil)
	for n := range 21 {
		first, out := whole.First(metric.Cost(n, n))
		if first.Len() != n || out != 20-n || first.Cost() > metric.Cost(n, n) {
			t.Errorf("the first %d are %d, %d are left out", n, first.Len(), out)
		}
	}
	if first, out := (*metric.Batch)(nil).First(0); first.Len() != 0 || out != 0 {
		t.Error("nothing has a first part")
	}
}
