package smallfile

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Turn is for reading files that may be on a dead mount, where it never returns and can't be cancelled: one reading is under way at a
// time, so that those that are asked for again and again don't pile up. The zero value is free.
type Turn struct {
	mu    sync.Mutex
	began time.Time
	ended chan struct{} // closed when the reading is over; nil where none was
}

// Within does f and returns what it does, or ends with ctx: then the result is dropped, whenever it comes. Who comes while another reading
// is under way waits for its end first. What is read is for the error.
func Within[T any](ctx context.Context, t *Turn, what string, f func() (T, error)) (T, error) {
	ended, err := t.take(ctx, what)
	var none T
	if err != nil {
		return none, err
	}
	var result T
	go func() {
		defer close(ended)
		result, err = f()
	}()
	select {
	case <-ended:
		return result, err
	case <-ctx.Done():
		return none, t.hangs(what)
	}
}

// take waits until no other reading is under way, and begins one.
func (t *Turn) take(ctx context.Context, what string) (chan struct{}, error) {
	for {
		t.mu.Lock()
		before := t.ended
		if before == nil || closed(before) {
			t.began, t.ended = time.Now(), make(chan struct{})
			mine := t.ended
			t.mu.Unlock()
			return mine, nil
		}
		t.mu.Unlock()
		select {
		case <-before:
		case <-ctx.Done():
			return nil, t.hangs(what)
		}
	}
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (t *Turn) hangs(what string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return notRead(what, t.began)
}

// Hanging is the error of a reading that has not ended.
type Hanging struct {
	// What is read, and Since when.
	What  string
	Since time.Duration
}

func (h *Hanging) Error() string {
	return fmt.Sprintf("%s: it has not been read for %s. HINT: Look for a network mount that is dead, or a disk that fails", h.What,
		h.Since.Round(time.Millisecond))
}

func notRead(what string, began time.Time) error {
	return &Hanging{What: what, Since: time.Since(began)}
}
