package collector

import (
	"context"
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

const (
	// shareFor is how long a collection's result may serve scrapes that come right behind it. Scrapes that are sent
	// at once arrive some milliseconds apart.
	shareFor = 100 * time.Millisecond
	// liveTimeout ends a collection that nobody may be waiting for any more, and with it its connection.
	liveTimeout = 10 * time.Second
)

// flights lets scrapes that ask for the same at the same time share one collection.
type flights struct {
	mu      sync.Mutex
	byKey   map[string]*flight
	started uint64 // collections
	joined  uint64 // scrapes that shared one
}

// flight is one collection. It goes on when the scrapes that wait for it have to answer: what has come until then is on their
// pages, and a connection in the middle of a pipeline is no use.
type flight struct {
	done   chan struct{}
	cancel context.CancelFunc

	mu      sync.Mutex
	results []liveResult
	ended   map[*queryUnit]bool // with or without a result
	asking  *queryUnit          // whose answer is awaited; nil before the first and after the last
	since   time.Time           // of asking
	run     *metric.Run         // the memory of results
}

// join starts run, or joins the one that is under way or has just ended.
func (f *flights) join(ctx context.Context, key string, run func(context.Context, *flight)) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byKey == nil {
		f.byKey = map[string]*flight{}
	}
	if fl, ok := f.byKey[key]; ok {
		f.joined++
		return fl
	}
	f.started++
	fl := &flight{done: make(chan struct{}), ended: map[*queryUnit]bool{}}
	f.byKey[key] = fl
	ctx, fl.cancel = context.WithTimeout(context.WithoutCancel(ctx), liveTimeout)
	go func() {
		defer fl.cancel()
		run(ctx, fl)
		close(fl.done)
		time.AfterFunc(shareFor, func() {
			f.forget(key, fl)
			fl.run.End()
		})
	}()
	return fl
}

// abandon ends a collection whose server is known to be down: the next scrape starts one of its own.
func (f *flights) abandon(key string, fl *flight) {
	f.forget(key, fl)
	fl.cancel()
}

func (f *flights) forget(key string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byKey[key] == fl {
		delete(f.byKey, key)
	}
}

func (f *flights) counts() (started, joined uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.started, f.joined
}

// ask notes whose answer is awaited now.
func (fl *flight) ask(u *queryUnit) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.asking, fl.since = u, time.Now()
}

// end notes that a collector is done, with samples or without.
func (fl *flight) end(u *queryUnit, samples []metric.Sample) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.ended[u] = true
	if samples != nil {
		fl.results = append(fl.results, liveResult{u, samples})
	}
}

// soFar is what has come until now, which collectors have ended, and whose answer is awaited for how long.
func (fl *flight) soFar() (results []liveResult, ended map[*queryUnit]bool, asking *queryUnit, awaited time.Duration) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	ended = make(map[*queryUnit]bool, len(fl.ended))
	for u := range fl.ended {
		ended[u] = true
	}
	return fl.results[:len(fl.results):len(fl.results)], ended, fl.asking, time.Since(fl.since)
}
