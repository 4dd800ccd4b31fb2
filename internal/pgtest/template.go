package pgtest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// initdb takes a second of a core, and the suite makes hundreds of clusters. So it runs once for each installation and its arguments; a
// cluster is a copy of what it made, which takes a tenth, with a system identifier of its own, as initdb would have given it.

// makeData fills the data directory as initdb would. Where there is a directory already, or the WAL goes elsewhere, initdb itself does.
func (c *Cluster) makeData(args []string) error {
	if _, err := os.Stat(c.DataDir()); err == nil || strings.Contains(strings.Join(args, " "), "--waldir") {
		return runInitdb(c.Install, c.DataDir(), append(ourInit(), args...))
	}
	template, err := template(c.Install, append(ourInit(), args...))
	if err != nil {
		return fmt.Errorf("make the cluster that others are copied from: %w", err)
	}
	if out, err := Command("cp", "-a", template, c.DataDir()).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w: %s", template, err, out)
	}
	if err := renewIdentifier(c.DataDir()); err != nil {
		return fmt.Errorf("give the copied cluster a system identifier of its own: %w", err)
	}
	return nil
}

// ourInit are initdb's arguments for a cluster of ours.
func ourInit() []string {
	return []string{"-U", Superuser, "-A", "trust", "-E", "UTF8", "--locale=C", "-N"}
}

func runInitdb(i Install, dir string, args []string) error {
	if out, err := Command(i.Bin("initdb"), append([]string{"-D", dir}, args...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

// template is a data directory that the installation's initdb made and no server has run on. It is kept beside what install.sh fetches.
func template(i Install, args []string) (string, error) {
	key := i.BinDir + "|" + strings.Join(args, "|")
	for _, program := range []string{"postgres", "initdb"} {
		fi, err := os.Stat(i.Bin(program))
		if err != nil {
			return "", err
		}
		key += fmt.Sprint("|", fi.Size(), "|", fi.ModTime().UnixNano()) // an update makes another template
	}
	dir := filepath.Join(cacheDir(), "clusters")
	kept := filepath.Join(dir, fmt.Sprintf("%d-%.12x", i.Major, sha256.Sum256([]byte(key))))
	if _, err := os.Stat(kept); err == nil {
		return kept, nil
	}
	_, uid, gid := serverUser()
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chown(dir, uid, gid)); err != nil {
		return "", fmt.Errorf("%w. HINT: Set PG_RELIABILITY_CACHE to a directory that you may write to", err)
	}
	draft, err := os.MkdirTemp(dir, "draft-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(draft)
	if err := os.Chown(draft, uid, gid); err != nil {
		return "", err
	}
	if err := runInitdb(i, filepath.Join(draft, "data"), args); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(draft, "data"), kept); err != nil && !errors.Is(err, fs.ErrExist) { // another test's came first
		return "", err
	}
	return kept, nil
}

// renewIdentifier writes a new system identifier into the files that hold it: it begins pg_control, whose last field is a checksum of all
// before, and stands in the long header that each segment of WAL begins with (XLogLongPageHeaderData), which has none.
func renewIdentifier(data string) error {
	id := binary.NativeEndian.AppendUint64(nil, newIdentifier())
	control := filepath.Join(data, "global", "pg_control")
	b, err := os.ReadFile(control)
	if err != nil {
		return err
	}
	end, err := checksumAt(b)
	if err != nil {
		return fmt.Errorf("%s: %w", control, err)
	}
	copy(b, id)
	binary.NativeEndian.PutUint32(b[end:], crc32.Checksum(b[:end], castagnoli()))
	if err := overwrite(control, 0, b); err != nil {
		return err
	}
	segments, err := filepath.Glob(filepath.Join(data, "pg_wal", strings.Repeat("[0-9A-F]", 24)))
	if err != nil || len(segments) == 0 {
		return fmt.Errorf("a new cluster has WAL, this one none: %w", err)
	}
	const identifierAt = 24 // after the short header: magic, info, timeline, address, what remains, and padding
	for _, segment := range segments {
		err = errors.Join(err, overwrite(segment, identifierAt, id))
	}
	return err
}

// newIdentifier is made as initdb's: seconds above, what differs within a second below.
func newIdentifier() uint64 {
	var low [4]byte
	_, _ = rand.Read(low[:]) // never fails
	return uint64(time.Now().Unix())<<32 | uint64(binary.NativeEndian.Uint32(low[:]))
}

// checksumAt is where the checksum of pg_control stands, which differs by version.
func checksumAt(control []byte) (int, error) {
	for at := 8; at+4 <= min(len(control), 512); at += 4 {
		if binary.NativeEndian.Uint32(control[at:]) == crc32.Checksum(control[:at], castagnoli()) {
			return at, nil
		}
	}
	return 0, errors.New("no checksum found")
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// overwrite changes bytes of a file that stays the server's.
func overwrite(path string, at int64, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, at)
	return errors.Join(err, f.Close())
}
