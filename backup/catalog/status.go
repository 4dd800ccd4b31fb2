package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Status is what happened to a backup since it was published.
type Status struct {
	// Of is the backup that this is said of, by the digest of its manifest, which has its id; "" in those of before it was noted.
	Of string `json:"of,omitempty"`
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
	// Databases are those that do not come back, where the same check restored all others and found them equal: for these the backup is good.
	// Empty: all of the backup is damaged.
	Databases []string `json:"databases,omitempty"`
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
	// UncagedParts are the same as words of package cage, for metrics. Verifications of before these were noted have none.
	UncagedParts []string `json:"uncaged_parts,omitempty"`
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

// believed is what of a status can be true of a backup that was finished at a time. One that does not say of which backup it is may have
// been copied beside it, or be left from one that had its id: what is older than the backup was said of another one.
func (s Status) believed(finished time.Time) Status {
	if s.Of != "" {
		return s
	}
	if s.Accepted != nil && s.Accepted.Before(finished) {
		s.Accepted = nil
	}
	if s.Damage != nil && s.Damage.At.Before(finished) {
		s.Damage = nil
	}
	if s.Verified != nil && s.Verified.At.Before(finished) {
		s.Verified = nil
	}
	if s.Checked != nil && s.Checked.At.Before(finished) {
		s.Checked = nil
	}
	if s.Offsite != nil && s.Offsite.Attempted.Before(finished) {
		s.Offsite = nil
	}
	return s
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
	t := texts{dir: dir}
	s, err := t.readStatus()
	if err != nil && !errors.Is(err, errCutStatus) && !errors.Is(err, errOthersStatus) { // what it says must not be lost
		return fmt.Errorf("update the status of backup %s: %w", id, err)
	}
	var m Manifest
	if s.Of == "" && t.readManifest(id, &m) == nil { // what is not believed must not be signed now
		s = s.believed(m.Finished)
	}
	change(&s)
	if sum, err := t.statedSum(); err == nil {
		s.Of = sum
	}
	return r.replace(filepath.Join(dir, statusFile), s)
}

// errCutStatus is for a status file whose bytes can be read and make no sense. What happened to the backup is unknown
// then: it counts as unreadable until a check writes the status anew.
var errCutStatus = errors.New("it is cut or garbled; `pg_reliability_backup verify` writes it anew")

// errOthersStatus is for a status file that speaks of another backup: somebody copied it. What it says must make no backup
// verified that was never restored.
var errOthersStatus = errors.New("it is another backup's; `pg_reliability_backup verify` writes it anew")
