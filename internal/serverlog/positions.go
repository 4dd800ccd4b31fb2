package serverlog

import (
	"encoding/json"
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

	"github.com/pg-reliability/pg_reliability_exporter/internal/atomicfile"
)

const (
	positionsFile    = "serverlog.json"
	positionsVersion = 1
	// maxPositions bounds how many files are remembered, and maxPositionsFile the bytes that are read of what was remembered.
	maxPositions     = 4096
	maxPositionsFile = 4 << 20
)

// position is how far a file was read. Its first bytes say whether it still is that file: its name may be another's by now.
type position struct {
	Offset     int64  `json:"offset"`
	HeadLength int    `json:"head_length"`
	Head       uint64 `json:"head"`
}

// positions are where reading goes on after a restart of ours.
type positions struct {
	path   string // empty keeps nothing
	logger log.Logger

	saving atomic.Bool
	failed atomic.Bool

	mu      sync.Mutex
	changed bool
	d       positionsDocument
}

type positionsDocument struct {
	Version  int                 `json:"version"`
	SavedAt  time.Time           `json:"saved_at"`
	Settings Settings            `json:"settings"`
	Files    map[string]position `json:"files"`
	// Containers are when the newest line of each was written.
	Containers map[string]time.Time `json:"containers"`
}

func newPositions(dir string, logger log.Logger) *positions {
	p := &positions{logger: logger, d: positionsDocument{Version: positionsVersion, Files: map[string]position{},
		Containers: map[string]time.Time{}}}
	if dir != "" {
		p.path = filepath.Join(dir, positionsFile)
	}
	return p
}

// slowLoad is how long a disk may take to say how far the log was read, before it is followed from its end.
const slowLoad = 3 * time.Second

// load reads what an earlier run has left; ok is whether there was something. What can't be read, or does not come, is begun anew:
// nothing but a piece of the log is lost.
func (p *positions) load() (s Settings, ok bool) {
	if p.path == "" {
		return s, false
	}
	d, err := p.readSoon()
	if errors.Is(err, fs.ErrNotExist) {
		return s, false
	}
	if err != nil {
		level.Warn(p.logger).Log("msg", "how far the server's log was read can't be read: it is followed from its end", "file", p.path, "err",
			err)
		return s, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.d = d
	return d.Settings, true
}

// readSoon does not wait for ever for a disk that hangs.
func (p *positions) readSoon() (positionsDocument, error) {
	type answer struct {
		d   positionsDocument
		err error
	}
	read := make(chan answer, 1)
	go func() {
		d, err := readPositions(p.path)
		read <- answer{d, err}
	}()
	select {
	case a := <-read:
		return a.d, a.err
	case <-time.After(slowLoad):
		return positionsDocument{}, errors.New("the disk does not answer. HINT: Look for a network file system that hangs")
	}
}

func readPositions(path string) (d positionsDocument, err error) {
	f, err := os.Open(path)
	if err != nil {
		return d, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPositionsFile+1))
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(data, &d); err != nil || d.Version != positionsVersion || d.Files == nil || d.Containers == nil {
		return d, fmt.Errorf("it is not of this version: %w", errors.Join(err, fs.ErrInvalid))
	}
	for path, is := range d.Files {
		if is.Offset < 0 || is.HeadLength < 0 || is.HeadLength > headLength {
			return d, fmt.Errorf("the position of %q makes no sense", path)
		}
	}
	return d, nil
}

func (p *positions) learn(s Settings) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.d.Settings, p.changed = s, true
}

func (p *positions) file(path string) (is position, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	is, known = p.d.Files[path]
	return is, known
}

func (p *positions) setFile(path string, is position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old, known := p.d.Files[path]; known && old == is || !known && len(p.d.Files) >= maxPositions {
		return
	}
	p.d.Files[path], p.changed = is, true
}

// keepOnly forgets files that are gone.
func (p *positions) keepOnly(there func(string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.d.Files, func(path string, _ position) bool {
		gone := !there(path)
		p.changed = p.changed || gone
		return gone
	})
}

// savedAt is when an earlier run saved them; zero without one.
func (p *positions) savedAt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.d.SavedAt
}

func (p *positions) container(name string) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.d.Containers[name]
}

func (p *positions) setContainer(name string, newest time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.d.Containers, p.changed = map[string]time.Time{name: newest}, true
}

// saveSoon saves in the background, where anything has changed and no earlier save hangs.
func (p *positions) saveSoon(now time.Time) {
	if p.saving.CompareAndSwap(false, true) {
		go func() {
			defer p.saving.Store(false)
			p.save(now)
		}()
	}
}

func (p *positions) save(now time.Time) {
	p.mu.Lock()
	if p.path == "" || !p.changed {
		p.mu.Unlock()
		return
	}
	p.changed = false
	p.d.SavedAt = now.UTC()
	data, err := json.Marshal(p.d)
	p.mu.Unlock()
	if err == nil {
		if err = os.MkdirAll(filepath.Dir(p.path), 0o750); err == nil {
			err = atomicfile.Write(p.path, data, 0o640)
		}
	}
	if failed := err != nil; p.failed.Swap(failed) != failed && failed {
		level.Error(p.logger).Log("msg", "how far the server's log was read can't be saved: after a restart of the exporter it is followed "+
			"from its end",
			"file", p.path, "err", err)
	}
}
