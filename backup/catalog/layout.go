package catalog

import (
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// Names in a repository; docs/backup-format.md says what each is for.
const (
	sentinelFile = "pg_reliability_backup.json"
	stateFile    = "state.json"
	reserveFile  = "reserve"
	backupsDir   = "backups"
	tmpDir       = "tmp"
	trashDir     = "trash"

	manifestFile = "manifest.json"
	sumsFile     = "SHA256SUMS"
	statusFile   = "status.json"

	lockRun   = "run.lock"   // held by whoever adds or removes backups
	lockState = "state.lock" // held for the moment of changing state.json or a status

	dirMode  = 0o700
	fileMode = 0o600

	// reserveBytes are given back when the disk is full, so that the failure can still be recorded.
	reserveBytes = 64 << 10
)

// daemonLock is held, shared, by each daemon of a server for as long as it lives; "" is a server that is not known.
func daemonLock(server string) string { return "daemon" + server + ".lock" }

// newID is a backup's name: the UTC time it began and the run's sequence number, which keeps ids
// unique and in order also when the clock is set back.
func newID(at time.Time, sequence uint64) string {
	return at.UTC().Format("20060102T150405Z") + "-" + strconv.FormatUint(sequence, 10)
}

var idPattern = regexp.MustCompile(`^\d{8}T\d{6}Z-(\d{1,19})$`)

// sequenceOf reads the sequence number from an id.
func sequenceOf(id string) (uint64, bool) {
	m := idPattern.FindStringSubmatch(id)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseUint(m[1], 10, 64)
	return n, err == nil
}

// timeOf reads the time from an id; zero when it has none.
func timeOf(id string) time.Time {
	if len(id) < 16 {
		return time.Time{}
	}
	t, err := time.Parse("20060102T150405Z", id[:16])
	if err != nil {
		return time.Time{}
	}
	return t
}

// Path is the directory of a published backup.
func (r *Repository) Path(id string) string { return filepath.Join(r.dir, backupsDir, id) }

// Dir is the repository's directory.
func (r *Repository) Dir() string { return r.dir }
