package quiet

import (
	"runtime"
	"sync"
)

// Processors has this process use one processor while it has little to do. With more, the runtime wakes a second thread for all that comes
// in, to look for work that is not there: that is half of what an idle process costs. It is safe for concurrent use; a nil one leaves the
// runtime as it is.
type Processors struct {
	most int

	mu    sync.Mutex
	works int
}

// NewProcessors begins with one processor. Close gives the process back what it had. There is to be one at a time.
func NewProcessors() *Processors {
	p := &Processors{most: runtime.GOMAXPROCS(0)}
	if p.most == 1 {
		return nil
	}
	runtime.GOMAXPROCS(1)
	return p
}

// Work calls f, and has all processors used meanwhile: what takes milliseconds must not keep a probe's answer waiting. It may go on for
// longer than f, since the runtime changes the number only between two collections of garbage, and who has f done need not wait for that.
func (p *Processors) Work(f func()) {
	if p == nil {
		f()
		return
	}
	p.begin()
	defer func() { go p.end() }()
	f()
}

func (p *Processors) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.works++; p.works == 1 {
		runtime.GOMAXPROCS(p.most)
	}
}

func (p *Processors) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.works--; p.works == 0 {
		runtime.GOMAXPROCS(1)
	}
}

// Close gives the process back what it had.
func (p *Processors) Close() {
	if p != nil {
		p.begin() // and never ends
	}
}
