package sessions

import (
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

var (
	declared metric.List

	descSamples = declared.Counter("pg_reliability_session_samples_total", "Sessions of clients that were seen in samples, one with each "+
		"read probe, by state and by what they waited for; none did not wait. Divided by the samples that succeeded it is how many sessions "+
		"did that on average. At most 150 label sets; the rest is other.", "state", "wait_event_type", "wait_event")
	descSampling = declared.Counter("pg_reliability_session_sampling_total", "Samples of sessions by result: ok, failed, denied (the role "+
		"lacks pg_monitor), skipped (the server was slow, or the last sample took long).", "result")
)

// Declared lists the metrics of samples.
func Declared() []*metric.Desc { return declared }

// Result of a sample.
type Result string

const (
	Taken   Result = "ok"
	Failed  Result = "failed"
	Denied  Result = "denied"
	Skipped Result = "skipped"
)

const (
	// share of the time that samples may take of a server: one that takes 50 ms is asked for once a second.
	share = 20
	// deniedFor is how long a server that denied one is not asked again.
	deniedFor = time.Minute
	// slow is a read after which no sample is asked for: the server has other things to do.
	slow = 100 * time.Millisecond
)

// Sampler decides when a sample is asked for, and keeps what it told. It is safe for concurrent use.
type Sampler struct {
	mu      sync.Mutex
	history history
	counts  counts
	results map[Result]uint64
	pause   time.Time // nothing is asked for before
	reason  Result    // of the pause
	told    []func(Sample)
}

// NewSampler makes one that has seen nothing.
func NewSampler() *Sampler {
	s := &Sampler{counts: counts{}, results: map[Result]uint64{}}
	for _, r := range []Result{Taken, Failed, Denied, Skipped} {
		s.results[r] = 0
	}
	return s
}

// OnSample registers a function that is called with each sample. It must not block, and be registered before the first.
func (s *Sampler) OnSample(f func(Sample)) { s.told = append(s.told, f) }

// Due is whether a sample is to be asked for with a read. lastRead is how long the one before took; a role that sees nothing of
// others is not worth to be asked.
func (s *Sampler) Due(now time.Time, lastRead time.Duration, sees bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !sees:
		s.results[Denied]++
	case now.Before(s.pause):
		s.results[s.reason]++
	case lastRead > slow:
		s.results[Skipped]++
	default:
		return true
	}
	return false
}

// Take takes the answer, and how long the server took for it.
func (s *Sampler) Take(at time.Time, took time.Duration, rows [][]*string, err error) {
	sample, groups, parsed := Sample{}, []group(nil), err
	if err == nil {
		sample, groups, parsed = parse(at, rows)
		sample.Waits = waits(groups)
	}
	s.keep(at, took, sample, groups, parsed)
	if parsed != nil {
		return
	}
	for _, f := range s.told {
		f(sample)
	}
}

func (s *Sampler) keep(at time.Time, took time.Duration, sample Sample, groups []group, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pause, s.reason = at.Add(share*took-took), Skipped
	switch {
	case err == nil:
		s.results[Taken]++
		s.counts.add(groups)
		s.history.add(sample)
	case postgres.ReasonOf(err) == postgres.Permission:
		s.results[Denied]++
		s.pause, s.reason = at.Add(deniedFor), Denied
	default:
		s.results[Failed]++
		s.pause = at.Add(max(share*took, time.Second))
	}
}

// Since lists the samples from a moment on, oldest first: at most five minutes of them.
func (s *Sampler) Since(from time.Time) []Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.history.since(from)
}

// Newest is the last sample; ok is false before the first.
func (s *Sampler) Newest() (newest Sample, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &s.history
	if len(h.ring) == 0 {
		return Sample{}, false
	}
	last := h.ring[(h.next+len(h.ring)-1)%len(h.ring)].at
	all := h.since(time.Unix(0, last))
	return all[len(all)-1], true
}

// Fill tells the metrics.
func (s *Sampler) Fill(out *metric.Sink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, n := range s.counts {
		out.Add(descSamples, float64(n), k.state, k.kind, k.event)
	}
	for r, n := range s.results {
		out.Add(descSampling, float64(n), string(r))
	}
}
