package httpserver

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// DefaultMaxRequests is what exporters of the field allow at once.
	DefaultMaxRequests = 40
	// patience is how long a client may read nothing before somebody else gets its place, where all are taken.
	patience = 250 * time.Millisecond
	// chunk is what a client has to read within patience to keep it.
	chunk = 64 << 10
)

// Limit bounds how many requests are answered at once, from their beginning until the client has read the answer, and how
// long a client may take to read. A client that does not read holds a place only as long as nobody else wants it: all
// places taken by such clients keep nobody out for longer than a moment.
type Limit struct {
	most    int
	reading time.Duration // how long a client may take to read an answer

	mu      sync.Mutex
	holders map[*place]struct{}
}

// NewLimit allows most requests at once; zero means that there is no bound.
func NewLimit(most int) *Limit {
	return &Limit{most: most, reading: writeTimeout, holders: map[*place]struct{}{}}
}

// Wrap serves h within the limit, and 503 beyond it. Handlers that share a Limit share its places.
func (l *Limit) Wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &place{ResponseWriter: w, limit: l}
		if !l.take(p) {
			w.Header().Set("Retry-After", "1")
			w.Header().Set("Connection", "close") // and with it what else was asked for on it
			http.Error(w, fmt.Sprintf("%d requests are being answered already, as many as may be at once. "+
				"HINT: Ask again in a second, or raise --web.max-requests where so many are meant to come.", l.most), http.StatusServiceUnavailable)
			return
		}
		defer l.giveBack(p)
		// Making the answer takes the time that the handler gives it; writing it is bounded from its first byte on.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
		h.ServeHTTP(p, r)
	})
}

// take is whether there is a place; the one that has been stuck the longest is cut off for it.
func (l *Limit) take(p *place) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.most > 0 && len(l.holders) >= l.most {
		var stuck *place
		for other := range l.holders {
			if !other.writing.IsZero() && (stuck == nil || other.writing.Before(stuck.writing)) {
				stuck = other
			}
		}
		if stuck == nil || time.Since(stuck.writing) < patience {
			return false
		}
		delete(l.holders, stuck)
		_ = http.NewResponseController(stuck.ResponseWriter).SetWriteDeadline(time.Now())
	}
	l.holders[p] = struct{}{}
	return true
}

func (l *Limit) giveBack(p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, held := l.holders[p]; held && !p.begun { // what is left to write is a header
		p.bound()
	}
	delete(l.holders, p)
}

// place is where one request is answered; it knows since when the client has not read. Its fields are held by limit.mu.
type place struct {
	http.ResponseWriter
	limit   *Limit
	begun   bool
	writing time.Time // when the chunk that is being written was begun; zero between chunks
}

// bound gives the client a time for reading all there is.
func (p *place) bound() {
	p.begun = true
	_ = http.NewResponseController(p.ResponseWriter).SetWriteDeadline(time.Now().Add(p.limit.reading))
}

// Write implements io.Writer.
func (p *place) Write(b []byte) (int, error) {
	written := 0
	for {
		if !p.mark(time.Now()) {
			return written, http.ErrHandlerTimeout
		}
		n, err := p.ResponseWriter.Write(b[written:min(written+chunk, len(b))])
		p.mark(time.Time{})
		if written += n; err != nil || written >= len(b) {
			return written, err
		}
	}
}

// mark notes when a chunk begins, and false if the place has been given to somebody else.
func (p *place) mark(began time.Time) bool {
	p.limit.mu.Lock()
	defer p.limit.mu.Unlock()
	if _, held := p.limit.holders[p]; !held {
		return false
	}
	if !p.begun {
		p.bound()
	}
	p.writing = began
	return true
}

// Unwrap lets http.ResponseController find what is below.
func (p *place) Unwrap() http.ResponseWriter { return p.ResponseWriter }
