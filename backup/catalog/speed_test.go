package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// generate writes n backups of two databases with a hundred tables each, without the syncs of a real run.
func generate(t testing.TB, r *Repository, n int) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	databases := []Database{{Name: "shop", Path: "databases/shop.dump"}, {Name: "mail", Path: "databases/mail.dump"}}
	for i := range databases {
		for j := range 100 {
			databases[i].Contents.Tables = append(databases[i].Contents.Tables, Table{Schema: "public", Name: fmt.Sprintf("table_number_%d", j), Rows: int64(j)})
			databases[i].Contents.Indexes = append(databases[i].Contents.Indexes, fmt.Sprintf("public.table_number_%d_pkey", j))
		}
	}
	must(r.makeDirs())
	for i := range n {
		at := noon.Add(time.Duration(i) * time.Hour)
		m := Manifest{
			Format: FormatVersion, ID: newID(at, uint64(i+1)), Sequence: uint64(i + 1), Engine: "pg_dump", Set: "all", Started: at, Finished: at.Add(time.Minute),
			RecoveryPoint: at, Server: Server{SystemIdentifier: "7"}, Databases: databases,
		}
		dir := r.Path(m.ID)
		must(os.MkdirAll(filepath.Join(dir, "databases"), dirMode))
		must(os.Mkdir(filepath.Join(dir, "globals"), dirMode))
		for _, name := range []string{"databases/shop.dump", "databases/mail.dump", "globals/roles.sql", "globals/tablespaces.sql"} {
			m.Files = append(m.Files, File{Path: name, Bytes: 5, SHA256: "x"})
			must(os.WriteFile(filepath.Join(dir, name), []byte("12345"), fileMode))
		}
		text, err := encode(m)
		must(err)
		must(os.WriteFile(filepath.Join(dir, manifestFile), text, fileMode))
		must(os.WriteFile(filepath.Join(dir, sumsFile), sums(m.Files, text), fileMode))
		status, err := encode(Status{Verified: &Verification{At: at, Level: 3, Result: Passed}})
		must(err)
		must(os.WriteFile(filepath.Join(dir, statusFile), status, fileMode))
	}
}

// TestManyBackups is about correctness; the figures are in its log. PG_RELIABILITY_LONG=1 makes the 5,000 of docs/backup.md.
func TestManyBackups(t *testing.T) {
	n := 300
	if os.Getenv("PG_RELIABILITY_LONG") == "1" {
		n = 5000
	}
	r := newRepo(t)
	generate(t, r, n)
	time.Sleep(fresh) // what was written just now is not remembered
	list := func(what string, r *Repository) []Backup {
		t.Helper()
		began := time.Now()
		all, err := r.Brief()
		if err != nil || len(all) != n {
			t.Fatalf("%d backups, %v", len(all), err)
		}
		t.Logf("%s: %s", what, time.Since(began))
		return all
	}
	again := func() *Repository {
		other, err := Open(r.Dir())
		if err != nil {
			t.Fatal(err)
		}
		return other
	}
	first := list("without an index", r)
	if _, err := os.Stat(filepath.Join(r.Dir(), indexFile)); err != nil {
		t.Fatal(err)
	}
	second := list("with one", again())
	full, err := r.List()
	if err != nil {
		t.Fatal(err)
	}
	for i := range full {
		want := full[i]
		for _, got := range []Backup{first[i], second[i]} {
			if got.ID != want.ID || got.Health != want.Health || got.Manifest.Rows() != want.Manifest.Rows() || got.VerifiedAt() != want.VerifiedAt() ||
				len(got.Manifest.Databases) != 2 || len(got.Manifest.Databases[0].Contents.Tables) > 0 {
				t.Fatalf("brief %+v\nfull %+v", got, want)
			}
		}
	}
	// What changed since is seen, whatever times somebody gives it.
	victim := full[0]
	path := filepath.Join(victim.Dir, manifestFile)
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := errors.Join(os.WriteFile(path, text, fileMode), os.Chtimes(path, fi.ModTime(), fi.ModTime())); err != nil {
		t.Fatal(err)
	}
	if got := list("after a change", again())[0]; got.Health != Damaged {
		t.Errorf("a manifest was changed in place: %s", got.Health)
	}
	if err := os.Remove(filepath.Join(full[1].Dir, "databases", "mail.dump")); err != nil {
		t.Fatal(err)
	}
	if got := list("after a loss", r)[1]; got.Health != Damaged {
		t.Errorf("a file is gone: %s", got.Health)
	}
	// An index that is cut or changed is none.
	index := filepath.Join(r.Dir(), indexFile)
	if text, err = os.ReadFile(index); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{"cut": text[:len(text)-9], "empty": {}, "changed": bytes.Replace(text, []byte("shop"), []byte("shup"), 1)} {
		if err := os.WriteFile(index, bad, fileMode); err != nil {
			t.Fatal(err)
		}
		if got := list("index "+name, again())[2]; got.Health != Verified || got.Manifest.Databases[0].Name != "shop" {
			t.Errorf("index %s: %+v", name, got)
		}
	}
	var ids []string
	for _, b := range full[n/2:] {
		ids = append(ids, b.ID)
	}
	began := time.Now()
	if failed := r.RemoveAll(ids); len(failed) > 0 {
		t.Fatal(failed)
	}
	t.Logf("%d removed: %s", len(ids), time.Since(began))
	if left, err := r.Brief(); err != nil || len(left) != n-len(ids) {
		t.Errorf("%d left, %v", len(left), err)
	}
}
