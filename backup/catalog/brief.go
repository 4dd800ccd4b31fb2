package catalog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// indexFile remembers what Brief read. It can be removed at any time.
const indexFile = "index.json"

// fresh is how old a file must be to be remembered: what is written within one tick of the kernel's clock after it was
// read would have the same stamp.
const fresh = 2 * time.Second

// index remembers, by id, what was read of backups, without their tables. An entry holds only while the files it was read from
// are the same by inode, size and times, the kernel's own among them, so it can't be older than they are.
type index struct {
	mu      sync.Mutex
	entries map[string]remembered
}

type remembered struct {
	Stamps   [3]stamp `json:"stamps"` // of the manifest, SHA256SUMS and the status; the last is zero where there is none
	Manifest Manifest `json:"manifest"`
	Rows     []int64  `json:"rows"` // of each database
	Status   Status   `json:"status"`
}

// briefManifest is a manifest of which the contents are not taken in but for the numbers of rows: they are most of it.
type briefManifest struct {
	Manifest
	Databases []briefDatabase `json:"databases"`
}

type briefDatabase struct {
	Database
	Contents briefContents `json:"contents"`
}

type briefContents struct {
	Exact  bool `json:"exact"`
	Tables []struct {
		Rows int64 `json:"rows"`
	} `json:"tables"`
}

func (c briefContents) rows() (n int64) {
	for _, t := range c.Tables {
		n += t.Rows
	}
	return n
}

// check is Manifest.check, of the databases too.
func (m *briefManifest) check(id string) error {
	whole := m.Manifest
	whole.Databases = make([]Database, 0, len(m.Databases))
	for _, d := range m.Databases {
		whole.Databases = append(whole.Databases, d.Database)
	}
	return whole.check(id)
}

// Brief is List without what the databases contain: of Contents only the number of rows is known. It reads no more than changed since
// it was last called, by whatever process could write the repository's index, and looks at every file's size as List does.
func (r *Repository) Brief() ([]Backup, error) {
	r.index.mu.Lock()
	known := r.index.entries
	r.index.mu.Unlock()
	if known == nil {
		known = r.readIndex()
	}
	var mu sync.Mutex
	used := sync.Pool{New: func() any { return new(texts) }}
	now, read := map[string]remembered{}, 0
	all, err := r.each(func(id string) Backup {
		e, old := known[id]
		t, _ := used.Get().(*texts)
		b, e, hit := r.brief(t, id, e, old)
		used.Put(t)
		mu.Lock()
		defer mu.Unlock()
		if e.Stamps[0] != (stamp{}) {
			now[id] = e
			if !hit {
				read++
			}
		}
		return b
	})
	if err != nil {
		return nil, err
	}
	r.index.mu.Lock()
	r.index.entries = now
	r.index.mu.Unlock()
	if read > indexSlack || len(known) > len(now)+indexSlack {
		r.writeIndex(now)
	}
	return all, nil
}

// indexSlack is how many entries may be missing before the index is written anew.
const indexSlack = 20

// brief reads one backup, or takes what is remembered of it. The entry's stamps are zero where nothing may be remembered.
func (r *Repository) brief(t *texts, id string, e remembered, old bool) (Backup, remembered, bool) {
	b := Backup{ID: id, Dir: r.Path(id)}
	b.Sequence, _ = sequenceOf(id)
	var stamps [3]stamp
	for i, name := range []string{manifestFile, sumsFile, statusFile} {
		s, err := stampOf(filepath.Join(b.Dir, name))
		if err != nil && (name != statusFile || !errors.Is(err, fs.ErrNotExist)) {
			return r.read(id), remembered{}, false
		}
		stamps[i] = s
	}
	if old && e.Stamps == stamps {
		m := e.Manifest
		m.Databases = make([]Database, len(e.Manifest.Databases))
		for i, d := range e.Manifest.Databases {
			d.Contents.counted = e.Rows[i]
			m.Databases[i] = d
		}
		b.judge(m, nil, e.Status, nil)
		return b, e, true
	}
	read := briefManifest{}
	t = t.of(b.Dir)
	merr := t.readManifest(id, &read)
	st, serr := t.readStatus()
	e = remembered{Status: st, Rows: make([]int64, 0, len(read.Databases))}
	light := read.Manifest
	light.Globals, light.Databases = nil, make([]Database, 0, len(read.Databases))
	for _, d := range read.Databases {
		rows := d.Contents.rows()
		d.Database.Contents, d.Properties = Contents{Exact: d.Contents.Exact, counted: rows}, Properties{}
		light.Databases = append(light.Databases, d.Database)
		e.Rows = append(e.Rows, rows)
	}
	e.Manifest = light
	b.judge(light, merr, st, serr)
	if merr == nil && serr == nil && settled(stamps) {
		e.Stamps = stamps
	}
	return b, e, false
}

// settled says that files are old enough to be remembered.
func settled(stamps [3]stamp) bool {
	before := time.Now().Add(-fresh).UnixNano()
	for _, s := range stamps {
		if s.Changed > before || s.Mod > before {
			return false
		}
	}
	return true
}

// readSummed reads a file whose first line is the digest of all that follows.
func readSummed(path string) (body []byte, ok bool) {
	text, err := readFile(path)
	if err != nil {
		return nil, false
	}
	sum, body, _ := bytes.Cut(text, []byte("\n"))
	want := sha256.Sum256(body)
	return body, string(sum) == hex.EncodeToString(want[:])
}

// readIndex reads the index. One that is missing, cut or of another format is an empty one.
func (r *Repository) readIndex() map[string]remembered {
	body, ok := readSummed(filepath.Join(r.dir, indexFile))
	if !ok {
		return nil
	}
	var x struct {
		Format     int                   `json:"format"`
		Repository string                `json:"repository"`
		Entries    map[string]remembered `json:"entries"`
	}
	if err := json.Unmarshal(body, &x); err != nil || x.Format != FormatVersion || x.Repository != r.sentinel.ID {
		return nil
	}
	for id, e := range x.Entries {
		if e.Manifest.ID != id || len(e.Rows) != len(e.Manifest.Databases) {
			delete(x.Entries, id)
		}
	}
	return x.Entries
}

// writeIndex writes the index where we may: it makes the next reader quicker, and nothing depends on it.
func (r *Repository) writeIndex(entries map[string]remembered) {
	fi, err := os.Stat(r.dir)
	if err != nil || !belongs(fi) {
		return // whose repository this is, could not read what we write
	}
	body, err := json.Marshal(map[string]any{"format": FormatVersion, "repository": r.sentinel.ID, "entries": entries})
	if err != nil {
		return
	}
	sum := sha256.Sum256(body)
	f, err := os.CreateTemp(r.dir, indexFile+".*")
	if err != nil {
		return
	}
	_, err = f.Write(append([]byte(hex.EncodeToString(sum[:])+"\n"), body...))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(r.dir, indexFile))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
}
