package watchdog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"

	"github.com/pg-reliability/pg_reliability_exporter/internal/atomicfile"
)

var errNoDir = errors.New("the watchdog needs a state directory: that there is one watchdog alone, and what it did, is kept there. " +
	"HINT: Set --state.dir to a directory that outlives the exporter")

const (
	lockName = "watchdog.lock"
	actsName = "watchdog.json"
	// longestActs bounds what is read of it: it holds a handful of times.
	longestActs = 64 << 10
	// mostKept is how many acts are remembered.
	mostKept = 20
)

// lease lets one process act alone, until it ends in whatever way, and remembers acts of all.
type lease struct {
	dir  string
	lock *flock.Flock
}

type acts struct {
	Acts []time.Time `json:"acts"`
}

func newLease(dir string) *lease {
	return &lease{dir: dir, lock: flock.New(filepath.Join(dir, lockName))}
}

// take says whether this process has the lease, and tries to get it. An error says why nobody can have it.
func (l *lease) take() (bool, error) {
	if l.lock.Locked() {
		return true, nil
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return false, fmt.Errorf("make the state directory for the watchdog's lease: %w", err)
	}
	got, err := l.lock.TryLock()
	if err != nil {
		return false, fmt.Errorf("take the watchdog's lease: %w. HINT: The exporter's user must be able to write to --state.dir", err)
	}
	if got {
		_, err = l.read()
	}
	return got, err
}

func (l *lease) release() { _ = l.lock.Unlock() }

// read is when it was acted, the oldest first.
func (l *lease) read() ([]time.Time, error) {
	f, err := os.Open(filepath.Join(l.dir, actsName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the watchdog's acts: %w", err)
	}
	defer f.Close()
	var a acts
	if err := json.NewDecoder(io.LimitReader(f, longestActs)).Decode(&a); err != nil {
		return nil, fmt.Errorf("read the watchdog's acts: %s: %w. HINT: Remove the file, once you know how often the server was restarted",
			f.Name(), err)
	}
	slices.SortFunc(a.Acts, time.Time.Compare)
	return a.Acts, nil
}

// recent is how many acts were within an hour of now, also by a clock that was put back.
func recent(acts []time.Time, now time.Time) (n int) {
	for _, at := range acts {
		if now.Sub(at).Abs() < time.Hour {
			n++
		}
	}
	return n
}

func often(n int) string {
	return fmt.Sprintf("it was restarted %d times in the last hour already: a person has to look", n)
}

// note allows an act and writes it down, durably, before it is done: none is forgotten, whatever ends this process. It is refused where
// there were too many, and where they are not known.
func (l *lease) note(now time.Time) error {
	if !l.lock.Locked() {
		return errors.New("another exporter with this state directory is the watchdog")
	}
	list, err := l.read()
	if err != nil {
		return err
	}
	if n := recent(list, now); n >= MostAnHour {
		return errors.New(often(n))
	}
	list = append(list, now.UTC())
	data, err := json.Marshal(acts{list[max(0, len(list)-mostKept):]})
	if err == nil {
		err = atomicfile.Write(filepath.Join(l.dir, actsName), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the watchdog's act down: %w", err)
	}
	return nil
}
