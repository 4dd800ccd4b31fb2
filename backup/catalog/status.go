package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Status is what happened to a backup since it was published.
type Status struct {
	// Accepted is when someone said that a suspect backup (Manifest.Suspect) is right.
	Accepted *time.Time `json:"accepted,omitempty"`
	// Damage is set when a check found the backup to differ from its manifest.
	Damage *Damage `json:"damage,omitempty"`
	// Verified is the last full verification (level 3) that passed.
	Verified *Verification `json:"verified,omitempty"`
	// Checked is the last verification of any level and result.
	Checked *Verification `json:"checked,omitempty"`
	// Offsite is the copy in another place; nil when none was ever tried.
	Offsite *Offsite `json:"offsite,omitempty"`
}

// Damage says what is broken.
type Damage struct {
	At      time.Time `json:"at"`
	Level   int       `json:"level"` // of the check that found it; one at least as deep takes it back
	Message string    `json:"message"`
}

// Verification is one check of a backup.
type Verification struct {
	At    time.Time `json:"at"`
	Level int       `json:"level"` // 1 checksums, 2 full read, 3 restored and compared
	// Result is "passed"; "failed": the backup differs from its manifest; or "impossible": the
	// check could not be carried out (no server programs, no space), which says nothing about the backup.
	Result  string `json:"result"`
	Message string `json:"message,omitempty"`
	// Seconds it took. RestoreSeconds is the part from the empty directory to the restored
	// server: the measured recovery time. Level 3 only.
	Seconds        float64 `json:"seconds"`
	RestoreSeconds float64 `json:"restore_seconds,omitempty"`
	Rows           int64   `json:"rows,omitempty"` // compared
	// Uncaged says what the rehearsal's programs could do that they should not, because this machine has no means
	// against it; empty when the cage was whole, and below level 3.
	Uncaged []string `json:"uncaged,omitempty"`
}

// Results of a verification.
const (
	Passed     = "passed"
	Failed     = "failed"
	Impossible = "impossible"
)

// Offsite is the state of a backup's copy elsewhere. A copy exists when Completed is set: data was
// written first, the manifest last, and all of it was read back and compared.
type Offsite struct {
	Target     string      `json:"target"` // URL without secrets, e.g. "s3://bucket/prefix"
	Attempted  time.Time   `json:"attempted"`
	Completed  *time.Time  `json:"completed,omitempty"`
	Bytes      int64       `json:"bytes,omitempty"`
	Seconds    float64     `json:"seconds,omitempty"`
	Encryption *Encryption `json:"encryption,omitempty"`
	// Files are the objects stored, with the sha256 of what is stored (after encryption).
	Files []File `json:"files,omitempty"`
	// Error is why the last attempt failed, empty after a success.
	Error string `json:"error,omitempty"`
}

// UpdateStatus changes a backup's status file atomically. Concurrent updates are serialised.
func (r *Repository) UpdateStatus(ctx context.Context, id string, change func(*Status)) error {
	unlock, err := r.lockWait(ctx, lockState)
	if err != nil {
		return err
	}
	defer unlock()
	dir := r.Path(id)
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("update the status of backup %s: %w", id, err)
	}
	s, err := readStatus(dir)
	if err != nil && !errors.Is(err, errCutStatus) { // what it says must not be lost
		return fmt.Errorf("update the status of backup %s: %w", id, err)
	}
	change(&s)
	return r.replace(filepath.Join(dir, statusFile), s)
}

// errCutStatus is for a status file whose bytes can be read and make no sense. What happened to the backup is unknown
// then: it counts as unreadable until a check writes the status anew.
var errCutStatus = errors.New("it is cut or garbled; `pg_reliability_backup verify` writes it anew")

// readStatus returns the zero status where there is no file.
func readStatus(dir string) (Status, error) {
	var s Status
	b, err := readFile(filepath.Join(dir, statusFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read %s: %w", statusFile, err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return Status{}, fmt.Errorf("read %s: %w (%w)", statusFile, errCutStatus, err)
	}
	return s, nil
}
