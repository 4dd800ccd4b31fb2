package catalog

import (
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Names a backup can be chosen by, besides its id.
const (
	Latest         = "latest"
	LatestVerified = "latest-verified"
)

// Wanted describes the backup someone asks for.
type Wanted struct {
	// Name is an id, Latest, LatestVerified, or a time (RFC 3339): the newest whose state is not later.
	Name string
	// Database the backup must hold; "" means any.
	Database string
	// Engine the backup must be of; "" means any.
	Engine string
}

// IsID says whether a name is a backup's id.
func IsID(name string) bool {
	_, ok := sequenceOf(name)
	return ok
}

// Choose finds a backup in a list as List returns it. By id any backup is found, whatever its
// health: the caller judges. By any other name only good ones are. The error's reason is
// failure.Nothing when no backup answers.
func Choose(all []Backup, w Wanted) (Backup, error) {
	before, timeErr := time.Parse(time.RFC3339, w.Name)
	_, isID := sequenceOf(w.Name)
	if w.Name != Latest && w.Name != LatestVerified && timeErr != nil && !isID {
		return Backup{}, failure.New(failure.Config, "backup %q: neither an id, nor latest, nor latest-verified, nor a time", w.Name).
			WithHint("`pg_reliability_backup list` shows the ids; a time is written such as 2026-11-23T02:00:00Z")
	}
	for _, b := range all {
		if isID {
			if b.ID == w.Name {
				return b, nil
			}
			continue
		}
		switch {
		case !b.Health.Good(),
			w.Name == LatestVerified && b.Health != Verified,
			timeErr == nil && b.Manifest.RecoveryPoint.After(before),
			w.Engine != "" && b.Manifest.Engine != w.Engine:
			continue
		}
		if _, ok := b.Manifest.Database(w.Database); w.Database != "" && !ok {
			continue
		}
		return b, nil
	}
	what := "backup " + w.Name
	if !isID {
		what = "good " + what
	}
	if w.Database != "" {
		what += " of database " + w.Database
	}
	if len(all) == 0 {
		return Backup{}, failure.New(failure.Nothing, "no %s: the repository has no backups yet", what).
			WithHint("`pg_reliability_backup run --verify` makes one and proves it.")
	}
	return Backup{}, failure.New(failure.Nothing, "no %s among %d in the repository", what, len(all)).
		WithHint("`pg_reliability_backup list` shows what there is; `run --verify` makes one of the server as it is now.")
}
