//go:build !linux

package clients

import (
	"os"
	"path/filepath"
)

const inherited = false

func secretFile() (*os.File, func() error, error) {
	dir, err := os.MkdirTemp("", "pg_reliability_secret-")
	if err != nil {
		return nil, nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
	if err != nil {
		_ = remove()
		return nil, nil, err
	}
	return f, remove, nil
}
