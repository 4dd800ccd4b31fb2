package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	logPoll = 250 * time.Millisecond
	// logTail is how much of a file's end is looked through for its last lines.
	logTail = 256 << 10
)

// LogFile is a log in files: a path, or a pattern such as /var/log/postgresql/*.log, of which the newest is read. A file
// that is rotated away, cut or followed by a newer one is left for its successor.
type LogFile string

// Name implements Log.
func (l LogFile) Name() string { return string(l) }

// Follow implements Log.
func (l LogFile) Follow(ctx context.Context, lines int) (io.ReadCloser, error) {
	path, err := l.newest()
	if err != nil {
		return nil, err
	}
	f, err := openLog(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("the server's log: %w. HINT: %s", err, mayNotRead)
	}
	if err != nil {
		return nil, fmt.Errorf("--log.file: %w", err)
	}
	if err := seekLastLines(f, lines); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("--log.file: read the end of %s: %w", path, err)
	}
	return &follower{ctx: ctx, log: l, file: f, path: path}, nil
}

// newest is the file written last; of several, the last by name, as log_filename has the time in it.
func (l LogFile) newest() (string, error) {
	matches, err := filepath.Glob(string(l))
	if err != nil {
		return "", fmt.Errorf("--log.file: %q: %w", string(l), err)
	}
	newest, at := "", time.Time{}
	for _, m := range matches {
		if info, err := os.Stat(m); err == nil && info.Mode().IsRegular() && !info.ModTime().Before(at) {
			newest, at = m, info.ModTime()
		}
	}
	if newest == "" {
		return "", fmt.Errorf("--log.file: no file is at %s, or this user may not look there", string(l))
	}
	return newest, nil
}

func seekLastLines(f *os.File, lines int) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	start := max(0, size-logTail)
	tail := make([]byte, size-start)
	if n, err := f.ReadAt(tail, start); err != nil && !errors.Is(err, io.EOF) {
		return err
	} else if n < len(tail) {
		tail = tail[:n]
	}
	at := len(bytes.TrimSuffix(tail, []byte("\n")))
	for range lines {
		if at = bytes.LastIndexByte(tail[:at], '\n'); at < 0 {
			break
		}
	}
	_, err = f.Seek(start+int64(at+1), io.SeekStart)
	return err
}

// follower reads on where a file grows.
type follower struct {
	ctx  context.Context
	log  LogFile
	file *os.File
	path string
}

func (f *follower) Read(p []byte) (int, error) {
	for {
		n, err := f.file.Read(p)
		if n > 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		if changed, err := f.successor(); err != nil {
			return 0, err
		} else if changed {
			continue
		}
		select {
		case <-f.ctx.Done():
			return 0, io.EOF
		case <-time.After(logPoll):
		}
	}
}

// successor opens the file that is the log now, if it is another than the one that was read to its end.
func (f *follower) successor() (bool, error) {
	here, err := f.file.Stat()
	if err != nil {
		return false, err
	}
	at, err := f.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return false, err
	}
	if here.Size() < at { // cut
		_, err := f.file.Seek(0, io.SeekStart)
		return true, err
	}
	path, err := f.log.newest()
	if err != nil {
		return false, nil //nolint:nilerr // between rotation and the next line there is no file
	}
	there, err := os.Stat(path)
	if err != nil || os.SameFile(here, there) || there.ModTime().Before(here.ModTime()) {
		return false, nil //nolint:nilerr // gone again: look later
	}
	next, err := openLog(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("--log.file: %w", err)
	}
	_ = f.file.Close()
	f.file, f.path = next, path
	return true, nil
}

func (f *follower) Close() error { return f.file.Close() }
