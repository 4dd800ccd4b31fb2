package offsite_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/enginetest"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// TestFetchOntoADiskThatFills: the last files of a copy find no room. Nothing of it is believed, the error names the place and the remedy,
// and the next fetch succeeds.
func TestFetchOntoADiskThatFills(t *testing.T) {
	dir := t.TempDir()
	enginetest.SmallDisk(t, dir, 8<<20)
	b := newBench(t, nil)
	if err := b.store.Copy(t.Context(), b.backup(t, usual())); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.repo, err = catalog.Init(filepath.Join(dir, "repository"), time.Now()); err != nil {
		t.Fatal(err)
	}
	store := b.newStore(t, nil)
	copies, err := store.List(t.Context())
	if err != nil || len(copies) != 1 {
		t.Fatal(copies, err)
	}
	free, err := catalog.FreeBytes(dir)
	if err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, free-copies[0].PlainBytes-4096), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = store.Fetch(t.Context(), copies[0], nil)
	wantFailure(t, err, failure.Space, "HINT: Free space there")
	if !strings.Contains(err.Error(), b.repo.Dir()) {
		t.Errorf("no place in %v", err)
	}
	all, lerr := b.repo.List()
	left, gerr := filepath.Glob(filepath.Join(b.repo.Dir(), "tmp", "*"))
	if len(all) != 0 || len(left) != 0 || lerr != nil || gerr != nil {
		t.Errorf("backups %v, drafts %v (%v, %v)", all, left, lerr, gerr)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if got, err := store.Fetch(t.Context(), copies[0], nil); err != nil || b.repo.CheckSums(got.ID, nil) != nil {
		t.Errorf("with room again: %v", err)
	}
}
