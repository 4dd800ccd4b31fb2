package incident

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/internal/atomicfile"
	"github.com/pg-reliability/pg_reliability_exporter/internal/sqltext"
)

const (
	windowVersion = 1
	// MaxKept and MaxBytes bound what is kept where nobody says otherwise: the oldest go first.
	MaxKept  = 100
	MaxBytes = 16 << 20
	// maxWindow bounds one file, in bytes.
	maxWindow = 4 << 20
	// inMemory is how many windows are kept without a directory.
	inMemory = 5
	// readTimeout is how long a reader waits for the disk, and maxReading how many may at once.
	readTimeout = 2 * time.Second
	maxReading  = 4
	directory   = "incidents"
)

// Summary is a line of the list.
type Summary struct {
	ID       string    `json:"id"`
	Kind     Kind      `json:"kind"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end,omitzero"`
	Reason   string    `json:"reason,omitempty"`
	Restarts []string  `json:"restarts,omitempty"`
	Cause    Cause     `json:"cause"`
	Sure     Sureness  `json:"sure"`
	Sentence string    `json:"sentence"`

	bytes int
}

// errForeign is a window of a server that is not this one.
var errForeign = errors.New("it is of another server")

// ids are names of files, too: nothing else is ever made one.
var ids = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}\.[0-9]{3}Z-(outage|stall|crash)$`)

func newID(start time.Time, kind Kind) string {
	return start.UTC().Format("20060102T150405.000Z") + "-" + string(kind)
}

// store keeps windows as files, each whole or not at all, and a summary of each in memory.
type store struct {
	dir, target       string
	maxKept, maxBytes int
	logger            log.Logger
	show              sqltext.Show

	mu      sync.Mutex
	list    []Summary // oldest first
	windows map[string]Window
	failing bool

	// ready: what an earlier run kept was read. Until then nothing is written. Only Run touches it, and what is behind it.
	ready bool
	// unfinished are those of an earlier run whose end was not seen.
	unfinished map[string]Window
	// reading bounds how many readers may hang with the disk.
	reading chan struct{}
}

func newStore(dir, target string, logger log.Logger) *store {
	st := &store{target: target, maxKept: MaxKept, maxBytes: MaxBytes, logger: logger, windows: map[string]Window{},
		unfinished: map[string]Window{},
		reading:    make(chan struct{}, maxReading)}
	if dir != "" {
		st.dir = filepath.Join(dir, directory)
	}
	return st
}

func (st *store) path(id string) string { return filepath.Join(st.dir, id+".json") }

// hangs says that load has not ended for long.
func (st *store) hangs() {
	level.Error(st.logger).Log("msg", "the directory of incidents does not answer: those of before are not shown, and the newest few are "+
		"held in memory until it does. HINT: Look for a network file system that hangs", "dir", st.dir)
}

// goOn begins to write, with what was held meanwhile.
func (st *store) goOn() {
	st.ready = true
	st.mu.Lock()
	held, gone := slices.Collect(maps.Values(st.windows)), st.prune(st.dir != "")
	st.mu.Unlock()
	st.remove(gone)
	for _, w := range held {
		st.keep(w)
	}
}

// earlier are the unfinished windows; none while they are being read.
func (st *store) earlier() map[string]Window {
	if !st.ready {
		return nil
	}
	return st.unfinished
}

// load reads what an earlier run kept. What can't be read is left alone, and not shown.
func (st *store) load() {
	if st.dir == "" {
		return
	}
	entries, err := os.ReadDir(st.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		if above, err := os.Stat(filepath.Dir(st.dir)); err == nil && !above.IsDir() {
			return // the state's own error says that its directory is a file
		}
		level.Error(st.logger).Log("msg", "the incidents of before can't be read", "dir", st.dir, "err", err)
		return
	}
	var found []Summary
	var foreign []string
	for _, e := range entries {
		id, isJSON := strings.CutSuffix(e.Name(), ".json")
		if strings.Contains(e.Name(), ".json.tmp-") {
			_ = os.Remove(filepath.Join(st.dir, e.Name())) // a run that was killed while it wrote has left it
		}
		if !isJSON || !ids.MatchString(id) {
			continue
		}
		w, size, err := st.read(id)
		if errors.Is(err, errForeign) {
			foreign = append(foreign, id)
			continue
		}
		if err != nil {
			level.Warn(st.logger).Log("msg", "an incident of before can't be read", "file", st.path(id), "err", err)
			continue
		}
		found = append(found, summarize(&w, size))
		if w.End.IsZero() && len(st.unfinished) < maxActive {
			st.unfinished[id] = w
		}
	}
	if len(foreign) > 0 {
		level.Warn(st.logger).Log("msg", "incidents of another server are left alone. HINT: Give each exporter a --state.dir of its own, or "+
			"remove these files if the server was moved", "dir", st.dir, "count", len(foreign), "newest", slices.Max(foreign))
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, s := range found {
		if !slices.ContainsFunc(st.list, func(is Summary) bool { return is.ID == s.ID }) {
			st.list = append(st.list, s)
		}
	}
	slices.SortFunc(st.list, func(a, b Summary) int { return strings.Compare(a.ID, b.ID) })
}

func summarize(w *Window, size int) Summary {
	s := Explain(w)
	return Summary{
		ID: w.ID, Kind: w.Kind, Start: w.Start, End: w.End, Reason: w.Reason, Restarts: w.Restarts, Cause: s.Cause, Sure: s.Sure,
		Sentence: s.Sentence,
		bytes:    size,
	}
}

func (st *store) read(id string) (w Window, size int, err error) {
	f, err := os.Open(st.path(id))
	if err != nil {
		return w, 0, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxWindow+1))
	if err != nil {
		return w, 0, err
	}
	if len(data) > maxWindow {
		return w, 0, fmt.Errorf("it is longer than %d bytes", maxWindow)
	}
	if err := json.Unmarshal(data, &w); err != nil {
		return w, 0, fmt.Errorf("it is no incident: %w", err)
	}
	hide(&w, st.show)
	if w.Version != windowVersion || w.ID != id {
		return w, 0, fmt.Errorf("it is of version %d, and of incident %q", w.Version, w.ID)
	}
	if w.Target != st.target {
		return w, 0, errForeign
	}
	return w, len(data), nil
}

// keep writes a window, in place of what was kept of it before. It is called by one goroutine.
func (st *store) keep(w Window) {
	data, err := json.Marshal(w)
	written := st.dir != "" && st.ready
	if err == nil && written {
		if err = os.MkdirAll(st.dir, 0o750); err == nil {
			err = atomicfile.Write(st.path(w.ID), data, 0o640)
		}
	}
	s := summarize(&w, len(data))
	st.remove(st.note(w, s, written, err))
}

// remove deletes files, without the lock: the disk may hang. Perhaps they were never written.
func (st *store) remove(gone []string) {
	for _, id := range gone {
		_ = os.Remove(st.path(id))
	}
}

// note remembers a window that was kept, and returns which are to be removed from the disk.
func (st *store) note(w Window, s Summary, written bool, err error) []string {
	st.mu.Lock()
	defer st.mu.Unlock()
	if failing := err != nil; failing != st.failing {
		if st.failing = failing; failing {
			level.Error(st.logger).Log("msg", "an incident can't be kept: it is lost when the exporter stops", "dir", st.dir, "err", err)
		}
	}
	if !written || err != nil {
		st.windows[w.ID] = w
	} else {
		delete(st.windows, w.ID)
	}
	st.list = slices.DeleteFunc(st.list, func(is Summary) bool { return is.ID == s.ID })
	st.list = append(st.list, s)
	slices.SortFunc(st.list, func(a, b Summary) int { return strings.Compare(a.ID, b.ID) })
	return st.prune(written)
}

// prune forgets the oldest beyond the bounds, and returns which files are to be removed. It is called with the lock.
func (st *store) prune(written bool) (gone []string) {
	sum := 0
	for _, s := range st.list {
		sum += s.bytes
	}
	held := len(st.windows)
	for len(st.list) > st.maxKept || len(st.list) > 1 && sum > st.maxBytes || held > inMemory {
		oldest := st.list[0]
		if held > inMemory {
			for _, s := range st.list {
				if _, is := st.windows[s.ID]; is {
					oldest = s
					break
				}
			}
		}
		if _, is := st.windows[oldest.ID]; is {
			delete(st.windows, oldest.ID)
			held--
		}
		if written {
			gone = append(gone, oldest.ID)
		}
		sum -= oldest.bytes
		st.list = slices.DeleteFunc(st.list, func(s Summary) bool { return s.ID == oldest.ID })
	}
	return gone
}

// window reads one that is kept.
func (st *store) window(id string) (Window, bool) {
	if !ids.MatchString(id) {
		return Window{}, false
	}
	st.mu.Lock()
	w, held := st.windows[id]
	known := slices.ContainsFunc(st.list, func(s Summary) bool { return s.ID == id })
	st.mu.Unlock()
	if held || !known {
		return w, held
	}
	return st.readSoon(id)
}

// readSoon waits for the disk, and not for ever: whoever asks is a page.
func (st *store) readSoon(id string) (Window, bool) {
	late := time.After(readTimeout)
	select {
	case st.reading <- struct{}{}:
	case <-late:
		return Window{}, false
	}
	found := make(chan *Window, 1)
	go func() {
		defer func() { <-st.reading }()
		w, _, err := st.read(id)
		if err != nil {
			found <- nil
			return
		}
		found <- &w
	}()
	select {
	case w := <-found:
		if w != nil {
			return *w, true
		}
	case <-late:
	}
	return Window{}, false
}

func (st *store) summaries() []Summary {
	st.mu.Lock()
	defer st.mu.Unlock()
	out := slices.Clone(st.list)
	slices.Reverse(out)
	return out
}

// Target names the server without a secret.
func (r *Recorder) Target() string { return r.o.Target }

// List is what is kept, newest first, with what goes on.
func (r *Recorder) List() []Summary {
	out := r.store.summaries()
	r.mu.Lock()
	var going []Window
	for _, m := range r.active {
		going = append(going, m.clone())
	}
	r.mu.Unlock()
	for _, w := range going {
		out = slices.DeleteFunc(out, func(s Summary) bool { return s.ID == w.ID })
		out = append(out, summarize(&w, 0))
	}
	slices.SortFunc(out, func(a, b Summary) int { return strings.Compare(b.ID, a.ID) })
	return out
}

// Get is one window and its story; what goes on, as far as it has.
func (r *Recorder) Get(id string) (Window, Story, bool) {
	r.mu.Lock()
	for _, m := range r.active {
		if m.ID == id {
			w := m.clone()
			r.mu.Unlock()
			return w, Explain(&w), true
		}
	}
	r.mu.Unlock()
	w, ok := r.store.window(id)
	if !ok {
		return w, Story{}, false
	}
	return w, Explain(&w), true
}
