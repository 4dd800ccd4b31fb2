package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/smallfile"
)

// fileTimeout is how long a login waits for its password file where another reading has told the password before: a login that is late
// for the disk's sake would be taken for the server's fault.
const fileTimeout = 500 * time.Millisecond

// passwordFile is a file with a password, read at each login.
type passwordFile struct {
	read func(ctx context.Context) ([]byte, error)
	last atomic.Pointer[string] // what was read last; nil before
}

func passwordFileAt(name string) *passwordFile {
	return &passwordFile{read: smallfile.At(name).Read}
}

// fresh reads the file; it waits as long as ctx says.
func (f *passwordFile) fresh(ctx context.Context) (string, error) {
	b, err := f.read(ctx)
	switch {
	case errors.As(err, new(*smallfile.Hanging)):
		return "", fmt.Errorf("read the password file: %w", err)
	case err != nil:
		return "", fmt.Errorf("read the password file: %w. HINT: It is read at each login: name a regular file that the exporter's user may read",
			err)
	}
	password := strings.TrimRight(string(b), "\r\n")
	f.last.Store(&password)
	return password, nil
}

// forLogin is the password that the file holds, or held last where the file hangs, as on a dead mount: the server is not to be called
// down for that.
func (f *passwordFile) forLogin(ctx context.Context) (string, error) {
	last := f.last.Load()
	if last == nil {
		return f.fresh(ctx)
	}
	soon, cancel := context.WithTimeout(ctx, fileTimeout)
	defer cancel()
	password, err := f.fresh(soon)
	if err != nil && soon.Err() != nil && ctx.Err() == nil {
		return *last, nil
	}
	return password, err
}
