package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/internal/atomicfile"
)

// writeSynced creates a file with the content and syncs it. It does not sync the directory.
func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|syscall.O_NONBLOCK, fileMode)
	if err != nil {
		return err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() { // who reads a FIFO would decide when we go on
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err == nil {
		_, err = f.Write(content)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error { return atomicfile.SyncDir(path) }

// encode is how every JSON file of a repository is written: indented, for a reader at three in the morning.
func encode(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// replace puts a JSON file in the place of an older one: readers see the old or the new one, whole.
// On a full disk it gives back the reserve and tries once more.
func (r *Repository) replace(path string, v any) error {
	b, err := encode(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	err = replaceOnce(path, b)
	if errors.Is(err, syscall.ENOSPC) && os.Remove(filepath.Join(r.dir, reserveFile)) == nil {
		err = replaceOnce(path, b)
	}
	if err != nil {
		return r.unwritable(fmt.Errorf("write %s: %w", path, err))
	}
	return nil
}

// unwritable gives a write that the repository's disk or its owner does not allow its reason and remedy; any other error stays as it is.
func (r *Repository) unwritable(err error) error {
	switch {
	case errors.Is(err, syscall.EROFS):
		return failure.New(failure.Repository, "%w", err).WithHint("%s is mounted read-only. Mount it writable; if nobody mounted it so, the "+
			"kernel's log (dmesg) says which error of the disk it was.", r.dir)
	case errors.Is(err, fs.ErrPermission):
		return failure.New(failure.Repository, "%w", err).WithHint("Run the command as the user to whom %s belongs, and let that user write "+
			"there: ls -ld %s shows both.", r.dir, r.dir)
	}
	return err
}

func replaceOnce(path string, b []byte) error {
	tmp := path + ".new"
	err := writeSynced(tmp, b)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return syncDir(filepath.Dir(path))
}

// restoreReserve makes the reserve file anew when there is room. Its absence harms nothing now.
func (r *Repository) restoreReserve() {
	path := filepath.Join(r.dir, reserveFile)
	if fi, err := os.Stat(path); err == nil && fi.Size() == reserveBytes {
		return
	}
	noise := make([]byte, reserveBytes)
	for i := range noise { // not zeros: a compressing file system would reserve nothing
		noise[i] = byte(i*7919>>3) ^ byte(i)
	}
	if err := writeSynced(path, noise); err != nil {
		_ = os.Remove(path)
	}
}

// Digest reads a file and returns its size and sha256 in hex.
func Digest(path string) (int64, string, error) {
	f, err := openFile(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return n, "", fmt.Errorf("read %s: %w", path, err)
	}
	return n, hex.EncodeToString(h.Sum(nil)), nil
}

// seal syncs a file, then reads back what the disk has and returns its size and sha256.
func seal(path string) (int64, string, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	if err := f.Chmod(fileMode); err != nil {
		return 0, "", err
	}
	if err := f.Sync(); err != nil {
		return 0, "", fmt.Errorf("sync %s: %w", path, err)
	}
	dropCache(f)
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return n, "", fmt.Errorf("read back %s: %w", path, err)
	}
	return n, hex.EncodeToString(h.Sum(nil)), nil
}
