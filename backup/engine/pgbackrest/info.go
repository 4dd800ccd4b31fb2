package pgbackrest

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Info is what `pgbackrest info --output=json` says of one stanza, as of 2.32 and later; keys that
// are not used here are left out.
type Info struct {
	Name    string       `json:"name"`
	Archive []Archive    `json:"archive"`
	Backups []Set        `json:"backup"`
	DB      []DB         `json:"db"`
	Repos   []RepoStatus `json:"repo"`
	Status  Status       `json:"status"`
}

// Status of a stanza or of a repository.
type Status struct {
	Code    int    `json:"code"` // 0: ok; see the constants
	Message string `json:"message"`
	Lock    struct {
		Backup struct {
			Held bool `json:"held"`
		} `json:"backup"`
	} `json:"lock"`
}

// Codes of Status. Others mean that pgBackRest could not read the repository.
const (
	statusOK           = 0
	statusNoStanza     = 1 // the path is missing: never made, or its disk is not there
	statusNoBackups    = 2
	statusNoStanzaData = 3
	statusMixed        = 4 // repositories differ: see each
)

// RepoStatus is the status of one repository.
type RepoStatus struct {
	Key    int    `json:"key"`
	Status Status `json:"status"`
}

// Archive is the range of WAL segments of one repository and server. Segments between may be missing; both are
// empty while there is none.
type Archive struct {
	ID  string `json:"id"` // e.g. "15-1"
	DB  Ref    `json:"database"`
	Min string `json:"min"`
	Max string `json:"max"`
}

// Ref names a server in a repository.
type Ref struct {
	ID   int `json:"id"`
	Repo int `json:"repo-key"`
}

// DB is one server the stanza had: one more after each upgrade.
type DB struct {
	ID       int         `json:"id"`
	Repo     int         `json:"repo-key"`
	SystemID json.Number `json:"system-id"`
	Version  string      `json:"version"` // "15", "9.6"
}

// Set is one backup.
type Set struct {
	Label     string   `json:"label"`
	Type      string   `json:"type"`
	Prior     string   `json:"prior"`
	Reference []string `json:"reference"` // all it builds upon
	Error     bool     `json:"error"`     // pages with invalid checksums were found in the server
	DB        Ref      `json:"database"`
	Archive   struct {
		Start string `json:"start"`
		Stop  string `json:"stop"`
	} `json:"archive"`
	LSN struct {
		Start string `json:"start"`
		Stop  string `json:"stop"`
	} `json:"lsn"`
	Info struct {
		Size       int64 `json:"size"`  // of the server's files
		Delta      int64 `json:"delta"` // of those copied this time
		Repository struct {
			Size  int64 `json:"size"`  // of all files a restore reads, as stored; missing with block incremental
			Delta int64 `json:"delta"` // of those stored this time
		} `json:"repository"`
	} `json:"info"`
	Timestamp struct {
		Start int64 `json:"start"` // seconds since 1970
		Stop  int64 `json:"stop"`
	} `json:"timestamp"`
	Backrest struct {
		Version string `json:"version"`
	} `json:"backrest"`
	// Databases are given when one backup was asked for.
	Databases []struct {
		Name string `json:"name"`
		OID  uint32 `json:"oid"`
	} `json:"database-ref"`
}

// Started is when the backup began.
func (s Set) Started() time.Time { return time.Unix(s.Timestamp.Start, 0).UTC() }

// Stopped is when the backup ended.
func (s Set) Stopped() time.Time { return time.Unix(s.Timestamp.Stop, 0).UTC() }

var labelPattern = regexp.MustCompile(`^\d{8}-\d{6}F(_\d{8}-\d{6}[DI])?$`)

// ParseInfo reads the output of `pgbackrest --stanza=S info --output=json`.
func ParseInfo(text []byte, stanza string) (Info, error) {
	var all []Info
	if err := json.Unmarshal(text, &all); err != nil {
		return Info{}, fmt.Errorf("read what pgbackrest info printed: %w", err)
	}
	for _, i := range all {
		if i.Name != stanza {
			continue
		}
		for _, s := range i.Backups {
			if !labelPattern.MatchString(s.Label) || s.Timestamp.Stop <= 0 {
				return Info{}, fmt.Errorf("read what pgbackrest info printed: backup %q that ended at %s", s.Label, s.Stopped().Format(time.RFC3339))
			}
		}
		return i, nil
	}
	return Info{Name: stanza, Status: Status{Code: statusNoStanza, Message: "missing stanza"}}, nil
}

// info asks pgBackRest for the stanza's state, or for one backup's. Only the engine's repository is in the result.
func (e *Engine) info(ctx context.Context, label string) (Info, error) {
	more := []string{"--output=json"}
	if label != "" {
		more = append(more, "--set="+label)
	}
	text, err := e.run(ctx, "info", more...)
	if err != nil {
		return Info{}, err
	}
	i, err := ParseInfo(text, e.Stanza)
	if err != nil {
		return Info{}, err
	}
	return i.of(e.repo())
}

// of leaves one repository of several, and reports a stanza or repository that can't be read or does
// not exist. A stanza without backups is no error.
func (i Info) of(key int) (Info, error) {
	status := i.Status
	if len(i.Repos) > 0 {
		status = Status{Code: statusNoStanza, Message: fmt.Sprintf("repository %d is not configured", key)}
		for _, r := range i.Repos {
			if r.Key == key {
				status = r.Status
			}
		}
	}
	switch status.Code {
	case statusOK, statusNoBackups:
	case statusNoStanza, statusNoStanzaData:
		return i, failure.New(failure.Repository, "pgBackRest's repository %d has no stanza %s: %s", key, i.Name, status.Message).
			WithHint("Is its disk or bucket there? A new stanza is made with: pgbackrest --stanza=%s stanza-create.", i.Name)
	default:
		message := strings.Join(strings.Fields(status.Message), " ")
		return i, failure.New(failure.Repository, "pgBackRest's repository %d of stanza %s can't be read: %s", key, i.Name, message).
			WithHint("May the system user that pgBackRest runs as (--pgbackrest-user) read its repository?")
	}
	one := i
	one.Status = status
	one.Status.Lock = i.Status.Lock
	one.Archive, one.Backups, one.DB, one.Repos = nil, nil, nil, nil
	for _, a := range i.Archive {
		if a.DB.Repo == key {
			one.Archive = append(one.Archive, a)
		}
	}
	for _, s := range i.Backups {
		if s.DB.Repo == key {
			one.Backups = append(one.Backups, s)
		}
	}
	for _, d := range i.DB {
		if d.Repo == key {
			one.DB = append(one.DB, d)
		}
	}
	return one, nil
}

// find returns a backup by label.
func (i Info) find(label string) (Set, bool) {
	for _, s := range i.Backups {
		if s.Label == label {
			return s, true
		}
	}
	return Set{}, false
}

// server returns the server a backup is of.
func (i Info) server(id int) DB {
	for _, d := range i.DB {
		if d.ID == id {
			return d
		}
	}
	return DB{}
}

// current is the server the stanza has now.
func (i Info) current() (DB, bool) {
	if len(i.DB) == 0 {
		return DB{}, false
	}
	return i.DB[len(i.DB)-1], true
}

// archive returns the archive of a server.
func (i Info) archive(id int) (Archive, bool) {
	for _, a := range i.Archive {
		if a.DB.ID == id {
			return a, true
		}
	}
	return Archive{}, false
}

// major is a version string's major version: 15 of "15", 9 of "9.6".
func major(version string) int {
	head, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(head)
	if err != nil {
		return 0
	}
	return n
}
