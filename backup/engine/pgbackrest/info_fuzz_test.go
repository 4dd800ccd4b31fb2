package pgbackrest

import (
	"os"
	"path/filepath"
	"testing"
)

// Whatever pgBackRest prints is refused, or answers every question.
func FuzzInfo(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		i, err := ParseInfo(text, "main")
		if err != nil {
			return
		}
		if i.Name != "main" {
			t.Errorf("it is of stanza %q", i.Name)
		}
		_, _ = i.current()
		_, _ = i.of(1)
		for _, s := range i.Backups {
			if found, ok := i.find(s.Label); !ok || found.Label != s.Label {
				t.Errorf("backup %q is not found", s.Label)
			}
			_, _ = s.Started(), s.Stopped()
		}
		for _, d := range i.DB {
			i.server(d.ID)
			_, _ = i.archive(d.ID)
			major(d.Version)
		}
	})
}
