package offsite

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
)

const (
	indexFile   = "copy.json"
	indexFormat = 1
	// maxIndex is what 200,000 files take, and no more than a small machine can read.
	maxIndex = 32 << 20
)

// Index is the last object written of a copy: what makes it one.
type Index struct {
	Format       int    `json:"format"`
	RepositoryID string `json:"repository_id"`
	ID           string `json:"id"`
	Sequence     uint64 `json:"sequence"`
	Engine       string `json:"engine"`
	Set          string `json:"set"`
	// Server is the system identifier of the backup's server, and Databases the names of its databases: what retention needs
	// once the backup is gone here. Copies of before these were noted lack them, and encrypted ones name no database.
	Server    string   `json:"system_identifier,omitempty"`
	Databases []string `json:"databases,omitempty"`
	// Line is the first of the servers whose place Server took one after the other, as the repository knew it; "" where Server is the first.
	Line string `json:"line,omitempty"`

	Finished time.Time `json:"finished"`
	// RecoveryPoint as in the manifest.
	RecoveryPoint time.Time           `json:"recovery_point"`
	Copied        time.Time           `json:"copied"`
	Encryption    *catalog.Encryption `json:"encryption,omitempty"`
	// Bytes is the sum of Files, as stored.
	Bytes int64 `json:"bytes"`
	// PlainBytes is what the backup takes once fetched.
	PlainBytes int64 `json:"plain_bytes"`
	// Files are the objects beside this one, relative to it, manifest last, with size and digest as stored.
	Files []catalog.File `json:"files"`
}

// Copy is a complete copy in the store.
type Copy struct {
	Index
	Target string `json:"target"`
}

// parseIndex reads an index and refuses what does not belong where it was found.
func parseIndex(text []byte, repositoryID, id string) (Index, error) {
	var x Index
	if err := json.Unmarshal(text, &x); err != nil {
		return x, fmt.Errorf("%s: %w", indexFile, err)
	}
	switch {
	case x.Format < 1 || x.Format > indexFormat:
		return x, fmt.Errorf("%s has format %d; this program reads 1 to %d", indexFile, x.Format, indexFormat)
	case x.ID != id || x.RepositoryID != repositoryID:
		return x, fmt.Errorf("%s is of backup %s of repository %s", indexFile, x.ID, x.RepositoryID)
	case len(x.Files) < 2:
		return x, fmt.Errorf("%s lists no files", indexFile)
	}
	var bytes int64
	paths := make(map[string]bool, len(x.Files))
	for _, f := range x.Files {
		if f.Bytes < 0 || bytes > math.MaxInt64-f.Bytes || paths[f.Path] {
			return x, fmt.Errorf("%s lists %.200q twice, or with an impossible size", indexFile, f.Path)
		}
		paths[f.Path] = true
		bytes += f.Bytes
	}
	if bytes != x.Bytes || x.PlainBytes < 0 || x.PlainBytes > bytes {
		return x, fmt.Errorf("%s says %d bytes, and its files have %d", indexFile, x.Bytes, bytes)
	}
	return x, nil
}

// local is the name of an object's file in the backup's directory.
func (x Index) local(object string) string {
	if x.Encryption == nil {
		return object
	}
	return strings.TrimSuffix(object, suffix)
}

// backup is what retention needs to know of a copy whose backup is not here any more.
func (x Index) backup() catalog.Backup {
	var databases []catalog.Database
	for _, name := range x.Databases {
		databases = append(databases, catalog.Database{Name: name})
	}
	return catalog.Backup{ID: x.ID, Sequence: x.Sequence, Health: catalog.Unverified, Manifest: catalog.Manifest{
		ID: x.ID, Sequence: x.Sequence, Engine: x.Engine, Set: x.Set, Finished: x.Finished, RecoveryPoint: x.RecoveryPoint, Bytes: x.Bytes,
		Server: catalog.Server{SystemIdentifier: x.Server}, Databases: databases,
	}}
}
