package probe

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/gofrs/flock"

	"github.com/pg-reliability/pg_reliability_exporter/internal/atomicfile"
)

const (
	stateFile    = "state.json"
	lockFile     = "state.lock"
	stateVersion = 1

	// slowLoad is when a state that is not read yet is worth a line in the log.
	slowLoad = 5 * time.Second
	// slowSave is when a save that has not ended is worth one.
	slowSave = 5 * time.Second
	// A save that fails is tried again after firstRetry, and ever more seldom up to lastRetry; a change is saved at once.
	firstRetry, lastRetry = time.Second, time.Minute
	// moment is how long a state that is not read yet is waited for at the end.
	moment = 200 * time.Millisecond
)

// persistence is how the state file fares.
type persistence string

const (
	// persistenceLoading: the state of an earlier run is not read yet.
	persistenceLoading persistence = "loading"
	// persistenceOff: no directory was given.
	persistenceOff persistence = "off"
	// persistenceOK: what was to be saved is saved.
	persistenceOK persistence = "ok"
	// persistenceLocked: another exporter keeps its state there; ours is lost at the end.
	persistenceLocked persistence = "locked"
	// persistenceFailing: the directory can't be used, or the last save failed.
	persistenceFailing persistence = "failing"
)

// setAside is why a state file was not taken over.
type setAside string

const (
	asideCorrupt       setAside = "corrupt"
	asideFutureVersion setAside = "future_version"
	asideOtherTarget   setAside = "other_target"
)

// store keeps the state in <dir>/state.json and the history in <dir>/history.bin. It never stops the exporter: what goes wrong is one log
// line and a metric. Saving happens in its own goroutine, because a disk that hangs must not hold up a probe.
type store struct {
	dir, target string
	logger      log.Logger
	lock        *flock.Flock
	// readOnly: the file must be left alone.
	readOnly bool
	// leaveHistory: that of the history must be.
	leaveHistory bool

	// made: the directory was not there before.
	made bool

	// slowLoad and slowSave are the constants of their names, but in tests.
	slowLoad, slowSave time.Duration

	wake   chan struct{} // something is pending
	closed chan struct{}
	given  atomic.Bool // stop has given up: nothing may be written any more

	mu      sync.Mutex
	pending map[string][]byte // the newest unsaved content of each file
	failing map[string]bool   // files whose last save failed; "" is the directory
	why     error             // of the newest failure
	begun   time.Time         // when reading began; zero before
	stats   storeStats
}

// storeStats is what the metrics show of a store.
type storeStats struct {
	persistence persistence
	saveErrors  uint64
	lastSave    time.Time
	aside       map[setAside]uint64
}

// newStore does nothing yet: run opens it. dir may be empty: nothing is kept then.
func newStore(dir, target string, logger log.Logger) *store {
	st := &store{
		dir: dir, target: target, logger: logger, readOnly: true, slowLoad: slowLoad, slowSave: slowSave,
		wake: make(chan struct{}, 1), closed: make(chan struct{}),
		pending: map[string][]byte{}, failing: map[string]bool{},
		stats: storeStats{persistence: persistenceOff, aside: map[setAside]uint64{}},
	}
	if dir != "" {
		st.stats.persistence = persistenceLoading
	}
	return st
}

// open reads the state and the history of an earlier run, or returns a new state. It takes as long as the disk does.
func (st *store) open(h *history, now time.Time) *state {
	if st.dir == "" {
		return newState()
	}
	slow := time.AfterFunc(st.slowLoad, func() {
		level.Error(st.logger).Log("msg", "the state directory does not answer: the server is watched, and counts of outages and restarts are "+
			"absent "+
			"until it does. HINT: Look for a network file system that hangs", "dir", st.dir)
	})
	defer slow.Stop()
	s, err := st.load(h, now)
	if err != nil {
		st.failed("", "the state can't be kept: counts of outages and restarts will be lost when the exporter stops. "+
			"HINT: Give the exporter's user a directory to write to", err)
	}
	if s == nil {
		s = newState()
	}
	return s
}

func (st *store) load(h *history, now time.Time) (*state, error) {
	_, err := os.Stat(st.dir)
	st.made = errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(st.dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	st.lock = flock.New(filepath.Join(st.dir, lockFile))
	free, lockErr := st.lock.TryLock()
	if lockErr == nil && !free {
		st.fares(persistenceLocked)
		level.Error(st.logger).Log("msg", "another exporter keeps its state in this directory: ours is not kept, and "+
			"counts begin at 0. HINT: Give each exporter its own --state.dir", "dir", st.dir)
		return nil, nil
	}
	s, err := st.loadState(now)
	if err != nil {
		return nil, err
	}
	if err := st.loadHistory(h, now); err != nil {
		st.leaveHistory = true
		st.failed(historyFile, "the history can't be kept: it begins anew", err)
	}
	// Where locks don't work, as on some network file systems, the state is kept nevertheless.
	st.readOnly = false
	st.fares(persistenceOK)
	st.sweep()
	if lockErr != nil {
		return s, fmt.Errorf("lock the state directory: %w", lockErr)
	}
	return s, nil
}

// fares notes how the state fares, unless something fails.
func (st *store) fares(p persistence) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.failing) == 0 {
		st.stats.persistence = p
	}
}

// loadState reads the file; what can't be used is set aside, never overwritten.
func (st *store) loadState(now time.Time) (*state, error) {
	data, err := readBounded(st.path(stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the state file: %w", err)
	}
	s, why, err := decodeState(data, st.target)
	if why == "" {
		return s, nil
	}
	return nil, st.setAside(stateFile, why, err, "the state file can't be used and was set aside: counts begin at 0", now)
}

// loadHistory does the same for the history.
func (st *store) loadHistory(h *history, now time.Time) error {
	data, err := readBounded(st.path(historyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the history file: %w", err)
	}
	read := newHistory(h.maxGap)
	why, err := read.decode(data, st.target)
	if why == "" {
		read.forgetAfter(now) // the clock was ahead then: that time comes again
		h.rings = read.rings
		return nil
	}
	return st.setAside(historyFile, why, err, "the history file can't be used and was set aside: the history begins anew", now)
}

func (st *store) setAside(file string, why setAside, err error, msg string, now time.Time) error {
	name := "corrupt"
	if why == asideOtherTarget {
		name = "other-target"
	}
	aside := fmt.Sprintf("%s.%s-%s", st.path(file), name, now.UTC().Format("20060102T150405.000Z"))
	if renameErr := os.Rename(st.path(file), aside); renameErr != nil {
		return fmt.Errorf("set %s aside (%w): %w", file, err, renameErr)
	}
	st.mu.Lock()
	st.stats.aside[why]++
	st.mu.Unlock()
	level.Error(st.logger).Log("msg", msg, "file", st.path(file), "set_aside_as", aside, "err", err)
	return nil
}

// save hands a document over and returns at once; of several of a file that wait, the newest is written.
func (st *store) save(s *state, now time.Time) {
	if st.readOnly {
		return
	}
	data, err := encodeState(s, st.target, now)
	if err != nil {
		st.failed(stateFile, "the state can't be saved", err)
		return
	}
	st.hand(stateFile, data)
}

// saveHistory hands the history over and returns at once.
func (st *store) saveHistory(h *history) {
	if !st.readOnly && !st.leaveHistory {
		st.hand(historyFile, h.encode(st.target))
	}
}

func (st *store) hand(file string, data []byte) {
	st.mu.Lock()
	st.pending[file] = data
	st.mu.Unlock()
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// run opens the store, hands over what it found, and writes what save hands over until stop. All that touches the disk
// happens here: who waits for a disk waits alone.
func (st *store) run(opened func(*state, *history), h *history) {
	st.mu.Lock()
	st.begun = time.Now()
	st.mu.Unlock()
	opened(st.open(h, time.Now()), h)
	st.write()
}

func (st *store) write() {
	defer close(st.closed)
	defer func() {
		if st.lock != nil {
			_ = st.lock.Unlock()
		}
	}()
	wait := firstRetry
	retry := time.NewTimer(lastRetry)
	defer retry.Stop()
	retry.Stop()
	for woken := true; woken; {
		select {
		case _, woken = <-st.wake:
		case <-retry.C:
			wait = min(2*wait, lastRetry)
		}
		if st.given.Load() {
			return // it may be another's by now
		}
		if st.flush() {
			wait = firstRetry
		} else {
			retry.Reset(wait)
		}
	}
}

// flush writes what is pending; false when something could not be, which is pending still.
func (st *store) flush() (all bool) {
	st.mu.Lock()
	pending := st.pending
	st.pending = map[string][]byte{}
	st.mu.Unlock()
	all = true
	for file, data := range pending {
		slow := time.AfterFunc(st.slowSave, func() {
			st.failed(file, "the disk does not take the state: counts of outages and restarts will be lost if the exporter stops now. "+
				"HINT: Look for a disk or network file system that hangs", fmt.Errorf("no answer within %s", st.slowSave))
		})
		err := atomicfile.Write(st.path(file), data, 0o640)
		slow.Stop()
		if err == nil {
			st.saved(file, time.Now())
			continue
		}
		all = false
		st.failed(file, "the state can't be saved; it is tried again at each change, and each minute at least", err)
		st.mu.Lock()
		if _, newer := st.pending[file]; !newer {
			st.pending[file] = data
		}
		st.mu.Unlock()
	}
	return all
}

// stop waits until the last document is written, but not longer than within. What is not loaded has nothing to write.
func (st *store) stop(loaded bool, within time.Duration) {
	close(st.wake)
	if !loaded {
		within = moment
	}
	select {
	case <-st.closed:
		return
	case <-time.After(within):
	}
	st.given.Store(true)
	if !loaded {
		level.Warn(st.logger).Log("msg", "the state directory did not answer in time: what was seen meanwhile is lost", "dir", st.dir)
		return
	}
	level.Error(st.logger).Log("msg", "the disk does not take the state in time: the last change is lost", "dir", st.dir)
	if st.lock != nil {
		_ = st.lock.Unlock()
	}
}

// discard removes the directory if this run has made it. It is called after stop.
func (st *store) discard() {
	select {
	case <-st.closed:
		if st.made {
			_ = os.RemoveAll(st.dir)
		}
	default: // the disk hangs
	}
}

// mostState bounds a file that is read: a hundred outages and all counts take 50 kB.
const mostState = 4 << 20

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostState+1))
	if err == nil && len(data) > mostState {
		data = nil // no file of ours: it is set aside
	}
	return data, err
}

func (st *store) failed(file, msg string, err error) {
	st.mu.Lock()
	first := len(st.failing) == 0
	st.failing[file], st.why = true, err
	st.stats.persistence = persistenceFailing
	st.stats.saveErrors++
	st.mu.Unlock()
	if first {
		level.Error(st.logger).Log("msg", msg, "dir", st.dir, "err", err)
	}
}

// saved notes what works again; a directory that could not be used works as soon as any file was written to it.
func (st *store) saved(file string, at time.Time) {
	st.mu.Lock()
	again := len(st.failing) > 0
	delete(st.failing, file)
	delete(st.failing, "")
	if again = again && len(st.failing) == 0; len(st.failing) == 0 {
		st.stats.persistence = persistenceOK
	}
	if file == stateFile {
		st.stats.lastSave = at
	}
	st.mu.Unlock()
	if again {
		level.Info(st.logger).Log("msg", "the state is saved again", "dir", st.dir)
	}
}

// keeping is for people.
func (st *store) keeping(now time.Time) (k Keeping) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch st.stats.persistence {
	case persistenceLoading:
		k.Loading = !st.begun.IsZero() && now.Sub(st.begun) >= st.slowLoad
	case persistenceLocked:
		k.Locked = true
	case persistenceFailing:
		k.Failing, k.Error = true, st.why.Error()
	}
	return k
}

// read is for the metrics.
func (st *store) read() storeStats {
	st.mu.Lock()
	defer st.mu.Unlock()
	out := st.stats
	out.aside = maps.Clone(out.aside)
	return out
}

// sweep removes what a run that was killed while it wrote has left behind.
func (st *store) sweep() {
	for _, file := range []string{stateFile, historyFile} {
		rests, _ := filepath.Glob(filepath.Join(st.dir, "."+file+".tmp-*"))
		for _, path := range rests {
			_ = os.Remove(path)
		}
	}
}

func (st *store) path(file string) string { return filepath.Join(st.dir, file) }
