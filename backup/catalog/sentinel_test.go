package catalog

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// A repository whose sentinel is damaged says how it is opened again, in a line for the shell that does it.
func TestACutSentinelComesWithItsRemedy(t *testing.T) {
	for name, content := range map[string]string{
		"cut": `{"format": 2, "id": "0123`, "empty": "", "no id": `{"format": 2}`, "binary": "\x00\xff", "another JSON": "[1]",
	} {
		for _, indexed := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				r := newRepo(t)
				b := publish(t, r, noon, "content")
				if indexed {
					r.writeIndex(map[string]remembered{})
				}
				path := filepath.Join(r.Dir(), sentinelFile)
				if err := os.WriteFile(path, []byte(content), fileMode); err != nil {
					t.Fatal(err)
				}
				_, err := Open(r.Dir())
				if failure.Of(err) != failure.Repository || !strings.Contains(err.Error(), sentinelFile+" is cut or garbled") {
					t.Fatalf("open: %v", err)
				}
				if _, other := r.Brief(); failure.Of(other) != failure.Repository ||
					!strings.Contains(other.Error(), "HINT: The backups beside it are untouched") {
					t.Errorf("list of an open one: %v", other)
				}
				_, remedy, ok := strings.Cut(err.Error(), "echo ")
				if !ok {
					t.Fatalf("no remedy: %v", err)
				}
				if out, err := exec.Command("sh", "-c", "echo "+remedy).CombinedOutput(); err != nil {
					t.Fatalf("%v %s", err, out)
				}
				again, err := Open(r.Dir())
				if err != nil {
					t.Fatal(err)
				}
				if all, err := again.List(); err != nil || len(all) != 1 || all[0].ID != b.ID {
					t.Errorf("after the remedy: %+v, %v", all, err)
				}
				if (again.ID() == r.ID()) != indexed {
					t.Errorf("the id was %s and is %s; there was an index: %t", r.ID(), again.ID(), indexed)
				}
			})
		}
	}
}

// A file where the directory should be is no disk that is not mounted.
func TestAFileIsNoRepository(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dump.sql")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); failure.Of(err) != failure.Repository || !strings.Contains(err.Error(), "HINT: It is a file") {
		t.Errorf("%v", err)
	}
}
