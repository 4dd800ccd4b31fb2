package collector

import (
	"context"
	"sync"
	"time"
)

// shareFor is how long a collection's result may serve scrapes that come right behind it. Scrapes that are sent
// at once arrive some milliseconds apart.
const shareFor = 100 * time.Millisecond

// flights lets scrapes that ask for the same at the same time share one collection.
type flights struct {
	mu      sync.Mutex
	byKey   map[string]*flight
	started uint64 // collections
	joined  uint64 // scrapes that shared one
}

type flight struct {
	done   chan struct{}
	ended  time.Time // valid once done is closed
	result []liveResult
}

// join starts run, or joins the one that is under way or has just ended. run goes on when the scrape that
// started it gives up: others may wait for it, and a connection in the middle of a pipeline is no use.
func (f *flights) join(ctx context.Context, key string, run func(context.Context) []liveResult) *flight {
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
	fl := &flight{done: make(chan struct{})}
	f.byKey[key] = fl
	detached, cancel := context.WithoutCancel(ctx), context.CancelFunc(func() {})
	if deadline, ok := ctx.Deadline(); ok {
		detached, cancel = context.WithDeadline(detached, deadline)
	}
	go func() {
		defer cancel()
		fl.result = run(detached)
		fl.ended = time.Now()
		close(fl.done)
		time.AfterFunc(shareFor, func() { f.forget(key, fl) })
	}()
	return fl
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
