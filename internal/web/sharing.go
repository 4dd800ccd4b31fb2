package web

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// shareFor is how old a page may be when somebody else gets it: less than the jitter of a scrape's own start.
const shareFor = 100 * time.Millisecond

// sharing lets those who ask for the same page within shareFor have one: it is collected, encoded and kept in memory once,
// however many there are and however slowly they read.
type sharing struct {
	mu    sync.Mutex
	pages map[string]*sharedPage
}

type sharedPage struct {
	waiting int // held by sharing.mu
	cancel  context.CancelFunc
	made    chan struct{}
	page    *bufferedPage // once made; nil where it could not be
}

func newSharing() *sharing { return &sharing{pages: map[string]*sharedPage{}} }

// pageKey is all that makes two requests ask for the same page: what is collected, how it is written, and how long it may
// take.
func pageKey(r *http.Request, subject string, budget time.Duration) string {
	query := r.URL.Query()
	return fmt.Sprintf("%q %q %q %q %q %t %s", subject, query["collect[]"], query["exclude[]"], query["name[]"],
		r.Header.Values("Accept"), acceptsGzip(r.Header), budget)
}

// page returns the page of a key, made by the first who asks; nil when that failed or ctx ended. The making goes on for the
// others when the first one leaves, and ends when all have left.
func (s *sharing) page(ctx context.Context, key string, collect func(context.Context) *bufferedPage) *bufferedPage {
	s.mu.Lock()
	p, met := s.pages[key]
	var making context.Context
	if !met {
		p = &sharedPage{made: make(chan struct{})}
		making, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
		s.pages[key] = p
		time.AfterFunc(shareFor, func() { s.forget(key, p) })
	}
	p.waiting++
	s.mu.Unlock()

	stay := context.AfterFunc(ctx, func() { s.leave(key, p) })
	defer stay()
	if !met {
		func() {
			defer close(p.made) // also when it panics
			defer p.cancel()
			p.page = collect(making)
		}()
	}
	select {
	case <-p.made:
		return p.page
	case <-ctx.Done():
		return nil
	}
}

// forgetAll makes a new page for whoever asks next.
func (s *sharing) forgetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.pages)
}

func (s *sharing) leave(key string, p *sharedPage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.waiting--; p.waiting > 0 {
		return
	}
	p.cancel()
	select {
	case <-p.made:
	default: // nobody is to join what ends
		s.drop(key, p)
	}
}

func (s *sharing) forget(key string, p *sharedPage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(key, p)
}

func (s *sharing) drop(key string, p *sharedPage) {
	if s.pages[key] == p {
		delete(s.pages, key)
	}
}
