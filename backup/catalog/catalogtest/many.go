// Package catalogtest makes repositories for tests, from what docs/backup-format.md says of them.
package catalogtest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
)

// Hour is when the first of Many's backups began; each other began an hour after the one before.
var Hour = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// Many writes n verified backups of two databases with a hundred tables each, without the syncs of a real run, and returns the
// ids, the oldest first.
func Many(t testing.TB, r *catalog.Repository, n int) []string {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	databases := []catalog.Database{{Name: "shop", Path: "databases/shop.dump"}, {Name: "mail", Path: "databases/mail.dump"}}
	for i := range databases {
		c := &databases[i].Contents
		for j := range 100 {
			c.Tables = append(c.Tables, catalog.Table{Schema: "public", Name: fmt.Sprintf("table_number_%d", j), Rows: int64(j)})
			c.Indexes = append(c.Indexes, fmt.Sprintf("public.table_number_%d_pkey", j))
		}
	}
	var ids []string
	for i := range n {
		at := Hour.Add(time.Duration(i) * time.Hour)
		m := catalog.Manifest{
			Format: catalog.FormatVersion, ID: fmt.Sprintf("%s-%d", at.Format("20060102T150405Z"), i+1), Sequence: uint64(i + 1), //nolint:gosec // not negative
			Engine: "pg_dump", Set: "all", Started: at, Finished: at.Add(time.Minute), RecoveryPoint: at,
			Server: catalog.Server{SystemIdentifier: "7"}, Databases: databases,
		}
		ids = append(ids, m.ID)
		dir := r.Path(m.ID)
		must(os.MkdirAll(filepath.Join(dir, "databases"), 0o700))
		must(os.Mkdir(filepath.Join(dir, "globals"), 0o700))
		put := func(name string, text []byte) { must(os.WriteFile(filepath.Join(dir, name), text, 0o600)) }
		sums := ""
		for _, name := range []string{"databases/shop.dump", "databases/mail.dump", "globals/roles.sql", "globals/tablespaces.sql"} {
			f := catalog.File{Path: name, Bytes: 5, SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte("12345")))}
			m.Files = append(m.Files, f)
			sums += f.SHA256 + "  " + f.Path + "\n"
			put(name, []byte("12345"))
		}
		text, err := json.MarshalIndent(m, "", "  ")
		must(err)
		put("manifest.json", text)
		put("SHA256SUMS", fmt.Appendf(nil, "%s%x  manifest.json\n", sums, sha256.Sum256(text)))
		passed := catalog.Verification{At: at.Add(2 * time.Minute), Level: 3, Result: catalog.Passed}
		status, err := json.Marshal(catalog.Status{Verified: &passed})
		must(err)
		put("status.json", status)
	}
	return ids
}
