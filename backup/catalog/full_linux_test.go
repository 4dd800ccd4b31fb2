package catalog_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog/catalogtest"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/enginetest"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// TestAFullDiskLeavesNoIndexHalfWritten: the list is right without one, and the next that has room writes it.
func TestAFullDiskLeavesNoIndexHalfWritten(t *testing.T) {
	dir := t.TempDir()
	enginetest.SmallDisk(t, dir, 8<<20)
	r, err := catalog.Init(filepath.Join(dir, "repo"), catalogtest.Hour)
	if err != nil {
		t.Fatal(err)
	}
	const n = 40
	catalogtest.Many(t, r, n)
	time.Sleep(2 * time.Second) // what was written just now is not remembered
	free, err := catalog.FreeBytes(dir)
	if err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, free-8192), 0o600); err != nil { // less than the index has
		t.Fatal(err)
	}
	index := func() []string {
		left, err := filepath.Glob(filepath.Join(r.Dir(), "index.json*"))
		if all, lerr := r.Brief(); err != nil || lerr != nil || len(all) != n {
			t.Errorf("%d backups (%v, %v), want %d", len(all), err, lerr, n)
		}
		return left
	}
	index()
	if left := index(); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if r, err = catalog.Open(r.Dir()); err != nil {
		t.Fatal(err)
	}
	index()
	if left := index(); len(left) != 1 {
		t.Errorf("with room again there is %v, want the index", left)
	}
}

// TestARepositoryThatMayNotBeWrittenSaysWhatToMend: a beginner's error is that the disk is mounted read-only, or that another user owns it.
func TestARepositoryThatMayNotBeWrittenSaysWhatToMend(t *testing.T) {
	dir := t.TempDir()
	enginetest.SmallDisk(t, dir, 8<<20)
	r, err := catalog.Init(filepath.Join(dir, "repo"), catalogtest.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, locked := r.Lock()
	for what, err := range map[string]error{"lock": locked, "state": r.UpdateState(t.Context(), func(*catalog.State) {})} {
		if failure.Of(err) != failure.Repository || !strings.Contains(err.Error(), "is mounted read-only. Mount it writable") {
			t.Errorf("%s: %s: %v", what, failure.Of(err), err)
		}
	}
}
