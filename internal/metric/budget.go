package metric

import (
	"slices"
	"sync"
)

const (
	// sampleBytes is what one sample costs in memory, from its arrival to the written page, with what the garbage collector leaves
	// behind; labelFactor is how often the text of its labels is there meanwhile. Measured by the kernel's figure of a process that had
	// twenty servers with some ten thousand samples each (docs/hostile-servers.md).
	sampleBytes = 600
	labelFactor = 4
	// block is how much a run asks for at once, in bytes.
	block = 16 << 10
	// trimmed is what a server that has more than its share keeps of it, in eighths, so that it need not be asked for each sample.
	trimmed = 7
)

// Cost is the memory of samples whose labels have so many bytes of text together, in bytes.
func Cost(samples, text int) int64 { return int64(samples)*sampleBytes + int64(text)*labelFactor }

// Budget is the memory that the samples of all servers of a process may have together. It is shared so that the larger is cut, never
// the smaller: who wants no more than an equal share has it, and what it leaves is for the others in equal shares again.
type Budget struct {
	total int64

	mu     sync.Mutex
	shares map[*Share]struct{}
	wanted int64 // of all shares
	held   int64 // by all shares
}

// NewBudget is a budget of so many bytes; nil, a budget without bound, for none.
func NewBudget(bytes int64) *Budget {
	if bytes <= 0 {
		return nil
	}
	return &Budget{total: bytes, shares: map[*Share]struct{}{}}
}

// Bytes is the whole budget; 0 has no bound.
func (b *Budget) Bytes() int64 {
	if b == nil {
		return 0
	}
	return b.total
}

// Share is one server's part of a budget. A nil one has no bound.
type Share struct {
	budget *Budget
	shrink func(most int64)

	// Held by budget.mu.
	kept    int64 // between runs
	running int64 // by runs under way
	want    int64 // what it would have if there were no bound
	told    bool  // it was asked to shrink, and has not said yet what it keeps
}

// Join gives one server its share. shrink is called, from any goroutine, when others need what this one keeps: it lets go of what is more
// than most bytes, and calls Keep.
func (b *Budget) Join(shrink func(most int64)) *Share {
	if b == nil {
		return nil
	}
	s := &Share{budget: b, shrink: shrink}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shares[s] = struct{}{}
	return s
}

// Leave gives the share back.
func (s *Share) Leave() {
	if s == nil {
		return
	}
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	s.change(func() { s.kept, s.want = 0, 0 })
	delete(s.budget.shares, s)
}

// Keep says what the server keeps now, and what it would keep if there were no bound, in bytes. run, if not nil, has ended with that.
func (s *Share) Keep(kept, want int64, run *Run) {
	if s == nil {
		return
	}
	s.budget.mu.Lock()
	s.change(func() {
		s.kept, s.want, s.told = kept, want, false
		run.release()
	})
	over := s.budget.over()
	s.budget.mu.Unlock()
	shrink(over)
}

// change does something to a share and keeps the sums right.
func (s *Share) change(do func()) {
	s.budget.held -= s.held()
	s.budget.wanted -= s.demand()
	do()
	s.budget.held += s.held()
	s.budget.wanted += s.demand()
}

func (s *Share) held() int64 { return s.kept + s.running }

// demand is what is set aside for the server.
func (s *Share) demand() int64 { return max(s.held(), s.want) }

// most is what the server may have beside the others.
func (s *Share) most() int64 {
	others := make([]int64, 0, len(s.budget.shares))
	for o := range s.budget.shares {
		if o != s {
			others = append(others, o.demand())
		}
	}
	return level(s.budget.total, others)
}

// level is the most that one who wants without end may have beside others with these demands.
func level(total int64, demands []int64) int64 {
	slices.Sort(demands)
	for i, d := range demands {
		each := total / int64(len(demands)-i+1)
		if d >= each {
			return each
		}
		total -= d
	}
	return total
}

// excess is a server that has more than its share, and what it may keep.
type excess struct {
	share *Share
	most  int64
}

// over are the servers that have more than their share while all have more than the budget.
func (b *Budget) over() (out []excess) {
	if b.held <= b.total {
		return nil
	}
	for s := range b.shares {
		if most := s.most(); !s.told && s.kept > 0 && s.held() > most {
			s.told = true
			out = append(out, excess{s, max(0, most/8*trimmed-s.running)})
		}
	}
	return out
}

func shrink(over []excess) {
	for _, e := range over {
		e.share.shrink(e.most)
	}
}

// Run is one collection, whose samples are in memory until Keep or End. A nil one has no bound. It is not safe for concurrent use.
type Run struct {
	share *Share
	taken int64 // of the share
	left  int64 // of what was taken, and of what it replaces
	full  bool
}

// Begin begins a collection, whose samples will be in the place of some that are kept until then, of so many bytes.
func (s *Share) Begin(replaces int64) *Run {
	if s == nil {
		return nil
	}
	return &Run{share: s, left: replaces}
}

// Take keeps the place of a sample with so many bytes of text, or says that there is none, for this run.
func (r *Run) Take(text int) bool {
	if r == nil {
		return true
	}
	cost := Cost(1, text)
	if r.left < cost && !r.full {
		r.full = !r.more(max(cost, block)) && !r.more(cost-r.left)
	}
	if r.left < cost {
		return false
	}
	r.left -= cost
	return true
}

// more takes some of the share.
func (r *Run) more(bytes int64) bool {
	s := r.share
	b := s.budget
	b.mu.Lock()
	if _, there := b.shares[s]; !there {
		b.mu.Unlock()
		return false
	}
	after := s.held() + bytes
	// Who fits beside all that the others want need not be reckoned with, nor who has no more than an equal share.
	if fits := after <= b.total-(b.wanted-s.demand()) || after <= b.total/int64(len(b.shares)); !fits && after > s.most() {
		b.mu.Unlock()
		return false
	}
	s.change(func() { s.running += bytes })
	r.taken, r.left = r.taken+bytes, r.left+bytes
	over := b.over()
	b.mu.Unlock()
	shrink(over)
	return true
}

// End gives back what the run took.
func (r *Run) End() {
	if r == nil {
		return
	}
	r.share.budget.mu.Lock()
	defer r.share.budget.mu.Unlock()
	r.share.change(r.release)
}

// release is End, within change.
func (r *Run) release() {
	if r == nil {
		return
	}
	r.share.running -= r.taken
	r.taken, r.left, r.full = 0, 0, true
}
