package sessions

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/internal/sqltext"
)

const (
	// lookEvery is the time between two closer looks, at the least; they may take a twentieth of the time, as samples do.
	lookEvery = 2 * time.Second
	// LookTimeout is when a look is given up, and LookBytes more than an honest one has.
	LookTimeout = 500 * time.Millisecond
	LookBytes   = 2 << 20
	// crowded is the share of connections in use from which on it is asked whose they are.
	crowded = 0.8
	// treeFresh is how long a tree is shown as what is: longer than the longest time between two looks that succeed.
	treeFresh = 15 * time.Second
	// learnEvery is the time between two questions for the users that are connected, so that their names are known when the table of
	// roles is what is locked, and learnAgain the same after one that failed. Names that could not be had are not asked for again for
	// namesAgain.
	learnEvery = time.Minute
	learnAgain = 5 * time.Second
	namesAgain = 30 * time.Second
	// maxRoles bounds the names that are remembered.
	maxRoles = 1000
)

// Query asks the server over another connection than the prober's, within LookTimeout. took is what it took the server, without the time
// until a connection was free.
type Query func(ctx context.Context, sql string) (rows [][]*string, took time.Duration, err error)

// Watcher looks closer while somebody waits for a lock, or connections are scarce: who blocks whom, and whose the connections are. It
// asks nothing otherwise. It is safe for concurrent use.
type Watcher struct {
	*Sampler
	query  Query
	show   sqltext.Show
	logger log.Logger
	now    func() time.Time
	wanted chan Sample
	tell   func(Sample)

	tree    atomic.Pointer[Tree]
	failing atomic.Pointer[string]
	// hanging: the newest login had no answer.
	hanging atomic.Bool
	// practised: the tree was asked for by the session that will be asked. One that never did would have to read pg_authid for it, which
	// may be what is locked.
	practised atomic.Bool
	learned   atomic.Int64 // when users were asked for last, in nanoseconds

	spent time.Duration // of the server's time, by the look under way; Run's alone

	mu    sync.Mutex
	names map[string]string // of roles, by number
	again time.Time         // names are not asked for before
}

// NewWatcher makes one of the samples of a sampler. tell gets each sample, and after a look another one with what was seen; it must not
// block.
func NewWatcher(s *Sampler, query Query, show sqltext.Show, logger log.Logger, tell func(Sample)) *Watcher {
	w := &Watcher{Sampler: s, query: query, show: show, logger: logger, now: time.Now, wanted: make(chan Sample, 1), tell: tell,
		names: map[string]string{}}
	s.OnSample(w.sample)
	return w
}

// LoginHangs tells whether the newest login had no answer. A login that waits for a lock is in no sample before PostgreSQL 18.
func (w *Watcher) LoginHangs(hangs bool) { w.hanging.Store(hangs) }

// Anew tells that the sessions which are asked have ended, or forgot what they know: those that follow them are to be asked soon, and
// before somebody waits. To log in then may be what can't be done.
func (w *Watcher) Anew() {
	w.practised.Store(false)
	w.learned.Store(0)
}

// sample takes one. It does not wait.
func (w *Watcher) sample(s Sample) {
	w.tell(s)
	hanging := w.hanging.Load()
	if s.Blocked == 0 && !hanging {
		w.tree.Store(nil)
	}
	if s.Blocked == 0 && !hanging && !s.scarce() && !w.toLearn() {
		return
	}
	select {
	case w.wanted <- s:
	default: // a look is under way, or due soon
	}
}

// toLearn is whether it is time to ask for the users that are connected.
func (w *Watcher) toLearn() bool { return w.now().Sub(time.Unix(0, w.learned.Load())) >= learnEvery }

func (s *Sample) scarce() bool { return s.Max > 0 && float64(s.Used) >= crowded*float64(s.Max) }

// Tree is who blocks whom; nil where nobody waits, or nobody could be asked.
func (w *Watcher) Tree() *Tree {
	t := w.tree.Load()
	if t == nil || w.now().Sub(t.At) > treeFresh {
		return nil
	}
	return t
}

// Run looks until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	for {
		var s Sample
		select {
		case <-ctx.Done():
			return
		case s = <-w.wanted:
		}
		w.spent = 0
		if s.Blocked == 0 && w.toLearn() {
			w.learn(ctx)
		}
		seen, err := w.look(ctx, s)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.complain(err)
		default:
			w.failing.Store(nil)
			if seen.Blockers != nil || seen.ByUser != nil {
				w.tell(seen)
			}
		}
		pause := max(lookEvery, share*w.spent)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// ask asks, and adds up what it takes.
func (w *Watcher) ask(ctx context.Context, sql string) ([][]*string, error) {
	rows, took, err := w.query(ctx, sql)
	w.spent += took
	return rows, err
}

// learn asks for what is to be known before somebody waits. What fails is asked for again.
func (w *Watcher) learn(ctx context.Context) {
	w.learned.Store(w.now().UnixNano())
	var err error
	if !w.practised.Swap(true) {
		_, err = w.ask(ctx, treeSQL)
	}
	_, err1 := w.users(ctx)
	if err = cmp.Or(err, err1); err != nil {
		w.practised.Store(false)
		w.learned.Store(w.now().Add(learnAgain - learnEvery).UnixNano())
	}
}

// complain says it once for each error.
func (w *Watcher) complain(err error) {
	text := err.Error()
	if old := w.failing.Swap(&text); old == nil || *old != text {
		level.Warn(w.logger).Log("msg", "who blocks whom can't be told", "err", err)
	}
}

// look asks what a sample gives reason for.
func (w *Watcher) look(ctx context.Context, s Sample) (Sample, error) {
	if s.Blocked > 0 || w.hanging.Load() {
		rows, err := w.ask(ctx, treeSQL)
		if err != nil {
			return s, err
		}
		t, err := parseTree(w.now(), rows, w.show)
		if err != nil {
			return s, err
		}
		var numbers []string
		for _, n := range t.Nodes {
			numbers = append(numbers, n.user)
		}
		names := w.namesOf(ctx, numbers)
		for i := range t.Nodes {
			t.Nodes[i].User = names[t.Nodes[i].user]
		}
		s.At, s.Blockers, s.Blocked = t.At, t.blockers(), max(s.Blocked, t.Waiting())
		w.tree.Store(&t)
	}
	if s.scarce() {
		users, err := w.users(ctx)
		switch {
		case err == nil:
			s.At, s.ByUser = w.now().UTC(), users
		case s.Blockers == nil: // the tree is worth to be told by itself
			return s, err
		}
	}
	return s, nil
}

func (w *Watcher) users(ctx context.Context) (map[string]int, error) {
	rows, err := w.ask(ctx, usersSQL)
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	var numbers []string
	for _, row := range rows[:min(len(rows), maxUsers)] {
		if len(row) != 2 {
			continue
		}
		n, err := number(row[1], maxCount)
		if err != nil {
			return nil, err
		}
		counts[text(row[0])] = int(n)
		numbers = append(numbers, text(row[0]))
	}
	out := map[string]int{}
	for number, name := range w.namesOf(ctx, numbers) {
		out[name] = counts[number]
	}
	return out, nil
}

// namesOf roles. One whose name can't be had, because pg_authid is locked, is named by its number.
func (w *Watcher) namesOf(ctx context.Context, numbers []string) map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var unknown []string
	for _, n := range numbers {
		if _, err := strconv.ParseUint(n, 10, 32); err == nil && w.names[n] == "" && !slices.Contains(unknown, n) {
			unknown = append(unknown, n)
		}
	}
	if now := w.now(); len(unknown) > 0 && !now.Before(w.again) {
		if len(w.names) > maxRoles {
			clear(w.names)
		}
		rows, err := w.ask(ctx, namesSQL(unknown))
		if err != nil { // the numbers are what there is, then
			w.again = now.Add(namesAgain)
		}
		for _, row := range rows {
			if len(row) == 2 && slices.Contains(unknown, text(row[0])) {
				w.names[text(row[0])] = sqltext.Plain(text(row[1]), maxText)
			}
		}
	}
	out := map[string]string{}
	for _, n := range numbers {
		switch name := w.names[n]; {
		case name != "":
			out[n] = name
		case n != "":
			out[n] = "role " + sqltext.Plain(n, maxText)
		}
	}
	return out
}
