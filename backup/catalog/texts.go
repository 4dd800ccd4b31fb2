package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// texts reads the small files of a backup's directory, each once. Who reads thousands of backups uses the memory again (of), for to
// make it anew, and to clear and collect it, takes longer than to read.
type texts struct {
	dir                    string
	manifest, sums, status []byte
	stated                 string // the manifest's digest, as SHA256SUMS says; "" until it was read
}

// of is for another directory, in the same memory.
func (t *texts) of(dir string) *texts {
	t.dir, t.stated = dir, ""
	return t
}

// readManifest reads a manifest and compares it with its digest in SHA256SUMS. One whose digest is right and
// which this program does not understand is a newer program's: it is not damaged.
func (t *texts) readManifest(id string, m interface{ check(id string) error }) (err error) {
	if t.manifest, err = readInto(t.manifest, filepath.Join(t.dir, manifestFile)); err != nil {
		return ofFile(manifestFile, err)
	}
	want, err := t.statedSum()
	if err != nil {
		return err
	}
	text := t.manifest
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != want {
		return wrongf("%s does not have the digest %s says", manifestFile, sumsFile)
	}
	if _, brief := m.(*briefManifest); brief {
		text = lighten(text)
	}
	if err := json.Unmarshal(text, m); err != nil {
		return fmt.Errorf("%s: %w", manifestFile, err)
	}
	return m.check(id)
}

// readManifest is that of one backup.
func readManifest(dir, id string, m interface{ check(id string) error }) error {
	return (&texts{dir: dir}).readManifest(id, m)
}

// statedSum is the digest of the manifest, as SHA256SUMS says: readManifest finds out whether that is so.
func (t *texts) statedSum() (_ string, err error) {
	if t.stated != "" {
		return t.stated, nil
	}
	if t.sums, err = readInto(t.sums, filepath.Join(t.dir, sumsFile)); err != nil {
		return "", ofFile(sumsFile, err)
	}
	sum, ok := manifestSum(t.sums)
	if !ok {
		return "", wrongf("%s does not list %s", sumsFile, manifestFile)
	}
	t.stated = sum
	return sum, nil
}

// readStatus returns the zero status where there is no file.
func (t *texts) readStatus() (s Status, err error) {
	t.status, err = readInto(t.status, filepath.Join(t.dir, statusFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read %s: %w", statusFile, err)
	}
	if err := json.Unmarshal(t.status, &s); err != nil {
		return Status{}, fmt.Errorf("read %s: %w (%w)", statusFile, errCutStatus, err)
	}
	if s.Of == "" {
		return s, nil
	}
	if sum, err := t.statedSum(); err == nil && sum != s.Of { // what is wrong with the sums is said by who reads the manifest
		return Status{}, fmt.Errorf("read %s: %w", statusFile, errOthersStatus)
	}
	return s, nil
}
