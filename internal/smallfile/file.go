package smallfile

import (
	"context"
	"sync"
	"time"
)

// File is a small file that is read again and again, at moments that must not wait for it. Opening one on a dead network mount never
// returns and can't be cancelled: at most one reading is under way, and who asks meanwhile is told how long already.
type File struct {
	name string
	read func(name string) ([]byte, error)

	mu    sync.Mutex
	under *reading // nil where none is under way
}

// reading is one of a file.
type reading struct {
	began   time.Time
	done    chan struct{} // closed when content and err are set
	content []byte
	err     error
}

// At is the file of a name.
func At(name string) *File { return &File{name: name, read: Read} }

// Read is as the function of that name, and ends with ctx or after ten seconds.
func (f *File) Read(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	r := f.begin()
	select {
	case <-r.done:
		return r.content, r.err
	case <-ctx.Done():
		return nil, notRead(f.name, r.began)
	}
}

// begin is the reading that is under way, or a new one.
func (f *File) begin() *reading {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.under != nil {
		return f.under
	}
	r := &reading{began: time.Now(), done: make(chan struct{})}
	f.under = r
	go func() {
		r.content, r.err = f.read(f.name)
		f.mu.Lock()
		f.under = nil
		f.mu.Unlock()
		close(r.done)
	}()
	return r
}
