package catalog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// wrong is the proof that a backup is not what was published: its bytes were read and differ, or a
// published file is definitely not there. Every other error (no permission, an input/output error, a
// network file system that is gone for the moment) says nothing about the backup.
type wrong struct{ err error }

func (w wrong) Error() string { return w.err.Error() }

func (w wrong) Unwrap() error { return w.err }

// wrongf makes a proof of damage.
func wrongf(format string, args ...any) error { return wrong{fmt.Errorf(format, args...)} }

// IsDamage says whether an error of this package proves that a backup is damaged. An error that does not
// leaves open whether it is: the backup is unreadable for now, and nothing may be concluded from that.
func IsDamage(err error) bool {
	var w wrong
	return errors.As(err, &w)
}

// ofFile judges an error met while a published file was looked at: one that is not there is damage.
func ofFile(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return wrongf("%s is missing", name)
	}
	return err
}

// maxText bounds what is read into memory of a manifest, a list of digests, a status or the journal: a
// manifest of a million tables takes a tenth of it.
const maxText = 1 << 30

// openFile opens a regular file for reading. Anything else in its place (a FIFO would hold the reader for
// ever) is an error.
func openFile(path string) (*os.File, error) {
	f, _, err := openSized(path)
	return f, err
}

func openSized(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = &fs.PathError{Op: "read", Path: path, Err: errors.New("it is no regular file")}
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, fi.Size(), nil
}

// readFile reads a regular file whole.
func readFile(path string) ([]byte, error) { return readInto(nil, path) }

// readInto is readFile into memory that has been used, and may be used again by who has no more need of the text.
func readInto(b []byte, path string) ([]byte, error) {
	f, size, err := openSized(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if size > maxText {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it has %d bytes, at most %d are read", size, maxText)}
	}
	b = slices.Grow(b[:0], int(size)+1)
	for {
		n, err := f.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return nil, err
		case len(b) > maxText:
			return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("it grows while it is read")}
		case len(b) == cap(b):
			b = append(b, 0)[:len(b)]
		}
	}
}
