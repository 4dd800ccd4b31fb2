package catalog_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog/catalogtest"
)

// TestManyBackups is about correctness; the figures are in its log. PG_RELIABILITY_LONG=1 makes the 5,000 of docs/backup.md.
func TestManyBackups(t *testing.T) {
	n := 300
	if os.Getenv("PG_RELIABILITY_LONG") == "1" {
		n = 5000
	}
	r, err := catalog.Init(filepath.Join(t.TempDir(), "repo"), catalogtest.Hour)
	if err != nil {
		t.Fatal(err)
	}
	catalogtest.Many(t, r, n)
	time.Sleep(2 * time.Second) // what was written just now is not remembered
	list := func(what string, r *catalog.Repository) []catalog.Backup {
		t.Helper()
		began := time.Now()
		all, err := r.Brief()
		if err != nil || len(all) != n {
			t.Fatalf("%d backups, %v", len(all), err)
		}
		t.Logf("%s: %s", what, time.Since(began))
		return all
	}
	again := func() *catalog.Repository {
		other, err := catalog.Open(r.Dir())
		if err != nil {
			t.Fatal(err)
		}
		return other
	}
	first := list("without an index", r)
	if _, err := os.Stat(filepath.Join(r.Dir(), "index.json")); err != nil {
		t.Fatal(err)
	}
	second := list("with one", again())
	full, err := r.List()
	if err != nil {
		t.Fatal(err)
	}
	for i := range full {
		want := full[i]
		for _, got := range []catalog.Backup{first[i], second[i]} {
			if got.ID != want.ID || got.Health != want.Health || got.Manifest.Rows() != want.Manifest.Rows() ||
				got.VerifiedAt() != want.VerifiedAt() ||
				len(got.Manifest.Databases) != 2 || len(got.Manifest.Databases[0].Contents.Tables) > 0 {
				t.Fatalf("brief %+v\nfull %+v", got, want)
			}
		}
	}
	// What changed since is seen, whatever times somebody gives it.
	victim := full[0]
	path := filepath.Join(victim.Dir, "manifest.json")
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := errors.Join(os.WriteFile(path, text, 0o600), os.Chtimes(path, fi.ModTime(), fi.ModTime())); err != nil {
		t.Fatal(err)
	}
	if got := list("after a change", again())[0]; got.Health != catalog.Damaged {
		t.Errorf("a manifest was changed in place: %s", got.Health)
	}
	if err := os.Remove(filepath.Join(full[1].Dir, "databases", "mail.dump")); err != nil {
		t.Fatal(err)
	}
	if got := list("after a loss", r)[1]; got.Health != catalog.Damaged {
		t.Errorf("a file is gone: %s", got.Health)
	}
	// An index that is cut or changed is none.
	index := filepath.Join(r.Dir(), "index.json")
	if text, err = os.ReadFile(index); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{"cut": text[:len(text)-9], "empty": {},
		"changed": bytes.Replace(text, []byte("shop"), []byte("shup"), 1)} {
		if err := os.WriteFile(index, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := list("index "+name, again())[2]; got.Health != catalog.Verified || got.Manifest.Databases[0].Name != "shop" {
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
