package collector

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// memory is the engine's part of what the samples of all servers of the process may take.
type memory struct {
	budget *metric.Budget
	share  *metric.Share
}

// short says in the log what there was no memory for.
func (m memory) short() string {
	return fmt.Sprintf("the samples of all servers of this exporter may take %d MB, and this server has its share of it. HINT: Let the query "+
		"return fewer rows, raise --collector.max-memory, or give the exporter more memory", m.budget.Bytes()>>20)
}

// within is as many of a source's samples as there is memory for, and the run that has taken it. before is what they replace, in bytes.
func (e *Engine) within(samples []metric.Sample, before int64) ([]metric.Sample, *metric.Run) {
	run := e.memory.share.Begin(before)
	for i, s := range samples {
		if !run.Take(s.Text()) {
			return samples[:i], run
		}
	}
	return samples, run
}

// cost is the memory of samples, in bytes.
func cost(samples []metric.Sample) int64 {
	text := 0
	for _, s := range samples {
		text += s.Text()
	}
	return metric.Cost(len(samples), text)
}

// wanted notes the memory of the newest run's samples, with those that were left out for want of it.
func (u *queryUnit) wanted(bytes int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.want = bytes
}

// account tells the budget what the engine keeps. run, if not nil, has ended with that.
func (e *Engine) account(run *metric.Run) {
	kept, want := int64(0), int64(0)
	for _, u := range e.units(Selection{}) {
		u.mu.Lock()
		kept, want = kept+u.cached.Cost(), want+u.want
		for _, p := range u.apart {
			kept, want = kept+p.samples.Cost(), want+p.want
		}
		u.mu.Unlock()
	}
	for _, s := range e.sources {
		s.mu.Lock()
		kept, want = kept+s.samples.Cost(), want+s.want
		s.mu.Unlock()
	}
	e.memory.share.Keep(kept, want, run)
}

// holding is one batch that the engine keeps, and how it is made smaller.
type holding struct {
	cost int64
	// cut keeps no more than most bytes of it.
	cut func(most int64)
}

// shrink lets go of samples until the engine keeps no more than most bytes, the largest batches' first.
func (e *Engine) shrink(most int64) {
	held := e.holdings()
	excess := -most
	for _, h := range held {
		excess += h.cost
	}
	slices.SortFunc(held, func(a, b holding) int { return cmp.Compare(b.cost, a.cost) })
	for _, h := range held {
		if excess <= 0 {
			break
		}
		h.cut(max(0, h.cost-excess))
		excess -= h.cost
	}
	e.account(nil)
}

func (e *Engine) holdings() (held []holding) {
	hold := func(mu *sync.Mutex, st *status, name string, b *metric.Batch, put func(*metric.Batch)) {
		held = append(held, holding{b.Cost(), func(most int64) {
			first, out := b.First(most)
			mu.Lock()
			put(first)
			mu.Unlock()
			st.reject(e.logger, name, metric.NoMemory, out, e.memory.short())
		}})
	}
	for _, u := range e.units(Selection{}) {
		u.mu.Lock()
		cached := u.cached
		hold(&u.mu, &u.status, u.def.Name, cached, func(b *metric.Batch) {
			if u.cached == cached { // not another run's meanwhile
				u.cached = b
			}
		})
		for name, p := range u.apart {
			hold(&u.mu, &u.status, u.def.Name, p.samples, func(b *metric.Batch) {
				if now := u.apart[name]; now.samples == p.samples {
					now.samples = b
					u.apart[name] = now
				}
			})
		}
		u.mu.Unlock()
	}
	for _, s := range e.sources {
		s.mu.Lock()
		samples := s.samples
		hold(&s.mu, &s.status, s.Name(), samples, func(b *metric.Batch) {
			if s.samples == samples {
				s.samples = b
			}
		})
		s.mu.Unlock()
	}
	return held
}
