// Package smallfile reads the small files that a configuration names: passwords, lists, certificates. A name may lead to anything, also
// after a change: to a pipe that nobody writes to, or to a device without end. Neither may hang a program or fill its memory.
package smallfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

const (
	// Most is how large a small file may be, in bytes.
	Most = 4 << 20
	// patience is how long a pipe may take to tell all it has.
	patience = 5 * time.Second
)

// Read is a file's content. A pipe is taken, as /dev/stdin and a shell's <(command) are, but not waited for longer than five seconds.
func Read(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // so that opening a pipe does not wait for who writes to it
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		_ = f.SetReadDeadline(time.Now().Add(patience)) // what has none, such as a device, is bounded by its length
	}
	b, err := io.ReadAll(io.LimitReader(f, Most+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("%s is no file but a pipe, and nobody wrote all of it within %s", name, patience)
	case err != nil:
		return nil, err
	case len(b) > Most:
		return nil, fmt.Errorf("%s is longer than %d MiB", name, Most>>20)
	case len(b) == 0 && info.Mode().Type() == os.ModeNamedPipe:
		return nil, fmt.Errorf("%s is no file but a pipe, and nobody writes to it", name)
	}
	return b, nil
}

// Check says why a file that somebody else is going to read is none that has an end; nil where it is, and where it is not there.
func Check(name string) error {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil //nolint:nilerr // who reads it says so
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file", name)
	case info.Size() > Most:
		return fmt.Errorf("%s is longer than %d MiB", name, Most>>20)
	}
	return nil
}
