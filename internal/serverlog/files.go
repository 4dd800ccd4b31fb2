package serverlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// pollInterval is how often files are looked at. Notices of the kernel's would tell sooner, but not on network file
	// systems nor in all containers, and a busy log has one for each line.
	pollInterval = 250 * time.Millisecond
	// scanInterval is how often new files are looked for.
	scanInterval = 2 * time.Second
	saveInterval = 5 * time.Second
	// maxFiles are followed at once: those written to last.
	maxFiles = 16
	// fresh is how long ago a file that is followed was written to at the most.
	fresh = time.Hour
	// restFactor: for each moment of work so many are rested, so that a log that is written as fast as a disk can takes no
	// more than a tenth of one CPU.
	restFactor = 9
	maxRest    = time.Second
)

// files follows all that match the patterns. One goroutine does it, so that their number costs nothing.
type files struct {
	log     *Log
	open    map[string]*file
	scanned bool // once, at least
	buffer  []byte
}

func newFiles(l *Log) *files {
	return &files{log: l, open: map[string]*file{}, buffer: make([]byte, chunk)}
}

func (fs *files) run(ctx context.Context) {
	defer fs.end()
	var nextScan, nextSave time.Time
	for ctx.Err() == nil {
		began := time.Now()
		if !began.Before(nextScan) {
			fs.scan(began)
			nextScan = began.Add(scanInterval)
		}
		more := fs.readAll(began)
		if !began.Before(nextSave) {
			fs.note()
			fs.log.positions.saveSoon(fs.log.now())
			nextSave = began.Add(saveInterval)
		}
		rest := pollInterval
		if more {
			rest = min(restFactor*time.Since(began), maxRest)
		}
		select {
		case <-ctx.Done():
		case <-time.After(rest):
		}
	}
}

// readAll gives each file its turn.
func (fs *files) readAll(now time.Time) (more bool) {
	for path, fl := range fs.open {
		again, err := fl.read(fs.buffer, now)
		more = more || again
		if err != nil || !again && fl.over(now) {
			fs.drop(path)
		}
	}
	return more
}

func (fs *files) drop(path string) {
	fl := fs.open[path]
	fl.close()
	fs.log.positions.setFile(path, fl.position())
	delete(fs.open, path)
	fs.log.followed.Store(int64(len(fs.open)))
}

func (fs *files) note() {
	for path, fl := range fs.open {
		fs.log.positions.setFile(path, fl.position())
	}
}

func (fs *files) end() {
	fs.note()
	for path := range fs.open {
		fs.drop(path)
	}
}

// candidate is a file that matches.
type candidate struct {
	path string
	st   os.FileInfo
}

// scan looks for files, opens those that are written to, and lets go of those that are not any more.
func (fs *files) scan(now time.Time) {
	found, err := fs.match()
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("no file matches %q. HINT: See log_directory and log_filename of the server, and whether the exporter's user may "+
			"list the directory", fs.log.o.Files)
	}
	slices.SortFunc(found, func(a, b candidate) int { return b.st.ModTime().Compare(a.st.ModTime()) })
	for i, c := range found {
		wanted := i < maxFiles && now.Sub(c.st.ModTime()) < fresh
		fl, isOpen := fs.open[c.path]
		switch {
		case isOpen && !wanted && fl.offset >= fl.size:
			fs.drop(c.path)
		case !isOpen && wanted:
			if openErr := fs.follow(c, now); openErr != nil && err == nil {
				err = fmt.Errorf("%w. HINT: Let the exporter's user read it, such as by the group adm or by log_file_mode = 0640", openErr)
			}
		case !isOpen && !fs.scanned:
			if _, known := fs.log.positions.file(c.path); !known {
				fs.log.positions.setFile(c.path, position{Offset: c.st.Size()}) // what it says is long past
			}
		}
	}
	if !fs.scanned {
		fs.leftovers(found, now)
	}
	fs.scanned = true
	fs.log.positions.keepOnly(func(path string) bool {
		_, isOpen := fs.open[path]
		return isOpen || slices.ContainsFunc(found, func(c candidate) bool { return c.path == path })
	})
	fs.log.followed.Store(int64(len(fs.open)))
	fs.log.fileState.set(fs.log.o.Logger, err)
}

func (fs *files) match() (found []candidate, err error) {
	seen := map[string]bool{}
	var odd []error
	for _, pattern := range fs.log.o.Files {
		paths, _ := filepath.Glob(pattern) // New has checked it
		for _, path := range paths {
			if seen[path] || len(found) >= maxPositions {
				continue
			}
			seen[path] = true
			st, statErr := os.Stat(path)
			switch {
			case statErr != nil:
				err = errors.Join(err, ignoreGone(statErr))
			case st.Mode().IsRegular():
				found = append(found, candidate{path, st})
			default:
				odd = append(odd, notAFile(path, st))
			}
		}
	}
	if len(found) == 0 {
		err = errors.Join(append(odd, err)...)
	}
	return found, err
}

// notAFile says what a pattern leads to that can't be followed. Beside files that can it is of no matter.
func notAFile(path string, st os.FileInfo) error {
	if st.IsDir() {
		return fmt.Errorf("%q is a directory. HINT: Name the files in it, such as %q", path, filepath.Join(path, "*.log"))
	}
	return fmt.Errorf("%q is no regular file (%s), and can't be read from where it was left. HINT: See log_directory and log_filename of the "+
		"server", path, st.Mode().Type())
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// follow opens a file where it was left, or at its beginning where it came while we ran; what was there before us is past.
func (fs *files) follow(c candidate, now time.Time) error {
	f, err := openFile(c.path)
	if err != nil {
		return ignoreGone(err)
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	fl := &file{path: c.path, f: f, last: now, reader: reader{log: fs.log}}
	at, known := fs.log.positions.file(c.path)
	switch {
	case known && at.is(f, st.Size()):
		fl.offset, fl.known, fl.head = at.Offset, at.HeadLength, at.Head
	case known, fs.scanned, fs.isNew(c):
	default:
		fl.offset = st.Size()
		fl.lines.skipping = !endsLine(f, st.Size())
	}
	fs.open[c.path] = fl
	return nil
}

// isNew is whether a file that nothing is known of was made since an earlier run of ours ended, or shortly before: it had not been
// looked for yet then.
func (fs *files) isNew(c candidate) bool {
	saved := fs.log.positions.savedAt()
	return !saved.IsZero() && c.st.ModTime().After(saved.Add(-2*scanInterval))
}

func endsLine(f *os.File, size int64) bool {
	var last [1]byte
	n, _ := f.ReadAt(last[:], max(0, size-1))
	return size == 0 || n == 1 && last[0] == '\n'
}

// leftovers finds files that were renamed while we did not run, and reads their rest: by their first bytes, in their directory.
func (fs *files) leftovers(found []candidate, now time.Time) {
	for _, c := range found {
		at, known := fs.log.positions.file(c.path)
		fl := fs.open[c.path]
		if !known || at.HeadLength == 0 || fl == nil || fl.offset != 0 || at.Offset == 0 {
			continue
		}
		siblings, err := os.ReadDir(filepath.Dir(c.path))
		if err != nil {
			continue
		}
		for _, s := range siblings {
			path := filepath.Join(filepath.Dir(c.path), s.Name())
			if fs.open[path] != nil || !s.Type().IsRegular() {
				continue
			}
			f, err := openFile(path)
			if err != nil {
				continue
			}
			if st, err := f.Stat(); err == nil && at.is(f, st.Size()) {
				fs.open[path] = &file{
					path: path, f: f, last: now, offset: at.Offset, known: at.HeadLength, head: at.Head, reader: reader{log: fs.log}, replaced: now,
				}
				break
			}
			_ = f.Close()
		}
	}
}
