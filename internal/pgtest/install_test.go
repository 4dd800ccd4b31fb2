package pgtest

import (
	"strings"
	"testing"
)

// A version of which there is no package is named by a variable, and a wrong name is an error, not a test left out.
func TestAVersionCanBeNamedByItsDirectory(t *testing.T) {
	here, err := Find(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(binVariable(here.Major), here.BinDir)
	if got, err := Find(here.Major); err != nil || got.BinDir != here.BinDir || got.Major != here.Major {
		t.Errorf("got %+v, %v", got, err)
	}
	for dir, want := range map[string]string{t.TempDir(): "no program postgres", here.BinDir: "it is PostgreSQL"} {
		t.Setenv("PGTEST_BIN_99", dir)
		if _, err := Find(99); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "PGTEST_BIN_99") {
			t.Errorf("%s: %v, want %q", dir, err, want)
		}
	}
	t.Setenv("PGTEST_BIN_99", "")
	if _, err := Find(99); err == nil || !strings.Contains(err.Error(), "Set PGTEST_BIN_99") {
		t.Errorf("without it: %v", err)
	}
}
