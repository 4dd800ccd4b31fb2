package catalog

import (
	"slices"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// PartlyError says that some databases of a backup do not come back, while all others that it holds were restored and compared. One broken
// database must not cost the others of its server.
type PartlyError struct {
	Databases []string
	Err       error // of the first of them
}

func (e *PartlyError) Error() string {
	return "only these databases do not come back: " + Printable(strings.Join(e.Databases, ", ")) + ": " + e.Err.Error()
}

// Unwrap is of reason failure.Incomplete: the backup is good for what else it holds.
func (e *PartlyError) Unwrap() error {
	return &failure.Error{Reason: failure.Incomplete, Err: e.Err}
}

// Partly says whether the damage is that of some databases alone.
func (d *Damage) Partly() bool { return d != nil && len(d.Databases) > 0 }

// setAside takes the databases that do not come back out of what the backup is good for: it is as if their dump had failed. It returns
// false where the damage is not theirs alone.
func (b *Backup) setAside(d Damage) bool {
	if !d.Partly() {
		return false
	}
	broken := func(db Database) bool { return slices.Contains(d.Databases, db.Name) }
	rest := slices.DeleteFunc(slices.Clone(b.Manifest.Databases), broken)
	if len(rest) == 0 {
		return false
	}
	whole := b.Manifest
	b.written = &whole
	b.Manifest.Databases, b.Manifest.Omitted = rest, slices.Clone(whole.Omitted)
	for _, name := range d.Databases {
		b.Manifest.Omit(Omission{
			Kind: FailedDatabase, Database: name, Why: "it is in the backup, and does not come back: " + d.Message,
			Remedy: "Mend that in the database and make a new backup. What can be had of this one, pg_restore without --exit-on-error takes " +
				"from its archive.",
		})
	}
	return true
}

// AsWritten is the backup with its manifest as it was published, the databases that do not come back among it.
func (b Backup) AsWritten() Backup {
	if b.written != nil {
		b.Manifest, b.written = *b.written, nil
	}
	return b
}
