package setup

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/internal/atomicfile"
)

const (
	secretMode    = 0o640 // root writes, the services' group reads
	passwordBytes = 24
	largestFile   = 1 << 20 // what is read of a file of settings or a password
)

// readPassword is the first line of a file, as the services read it; empty where there is no file.
func readPassword(file string) (string, error) {
	text, err := readSmall(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimRight(text, "\r\n"), err
}

func readSmall(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if info.Size() > largestFile || !info.Mode().IsRegular() {
		return "", failure.New(failure.Config, "%s is no file of settings: it is too large, or something else", file)
	}
	b, err := os.ReadFile(file)
	return string(b), err
}

// newPassword writes one that nobody knows.
func (s *setup) newPassword(r *role) error {
	b := make([]byte, passwordBytes)
	if _, err := rand.Read(b); err != nil {
		return err
	}
	r.password = base64.StdEncoding.EncodeToString(b)
	return s.write(r.file, r.password+"\n")
}

// write replaces a file that the services read.
func (s *setup) write(file, text string) error {
	if err := atomicfile.Write(file, []byte(text), secretMode); err != nil {
		return err
	}
	return os.Chown(file, 0, s.gid)
}

// guard makes sure that the services can read a password's file, and others can't.
func (s *setup) guard(file string) error {
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode().Perm() == secretMode && int(st.Gid) == s.gid && st.Uid == 0 {
		return nil
	}
	if !info.Mode().IsRegular() {
		s.note("%s is not a plain file: its owner and mode are left as they are", file)
		return nil
	}
	return s.change(func() error { return errors.Join(os.Chown(file, 0, s.gid), os.Chmod(file, secretMode)) },
		"let root write and the services' group read %s, and nobody else (it had mode %o, user %d, group %d)",
		file, info.Mode().Perm(), st.Uid, st.Gid)
}

// settings are a file of NAME=VALUE lines, as systemd reads it.
type settings struct {
	file    string
	lines   []string
	changed bool
}

func readSettings(file string) (*settings, error) {
	text, err := readSmall(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failure.New(failure.Config, "there is no %s", file).
			WithHint("Install the package pg-reliability, or copy the file from deploy/systemd: docs/install.md.")
	}
	if err != nil {
		return nil, fmt.Errorf("read the settings: %w", err)
	}
	return &settings{file: file, lines: strings.Split(strings.TrimRight(text, "\n"), "\n")}, nil
}

// find is the line that counts: the last one that sets a name; -1 where none does.
func (f *settings) find(name string) int {
	for i := len(f.lines) - 1; i >= 0; i-- {
		if strings.HasPrefix(f.lines[i], name+"=") {
			return i
		}
	}
	return -1
}

// lookup is the value of a name.
func (f *settings) lookup(name string) (string, bool) {
	i := f.find(name)
	if i < 0 {
		return "", false
	}
	value := strings.TrimPrefix(f.lines[i], name+"=")
	if n := len(value); n > 1 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		value = value[1 : n-1]
	}
	return value, true
}

// put sets a name in place of its line, or at the end.
func (f *settings) put(line string, at int) {
	f.changed = true
	if at < 0 {
		f.lines = append(f.lines, line)
		return
	}
	f.lines[at] = line
}
