package compose_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// .dockerignore lets into an image's build what it names: each folder that the programs import from has to be among it.
func TestTheImagesAreBuiltFromAllThatTheProgramsImport(t *testing.T) {
	text, err := os.ReadFile("../../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	var let []string
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "!"); ok {
			let = append(let, name)
		}
	}
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "./cmd/pg_reliability_exporter", "./cmd/pg_reliability_backup")
	list.Dir = "../.."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		folder, ours := strings.CutPrefix(strings.TrimSpace(line), "github.com/pg-reliability/pg_reliability_exporter/")
		if !ours {
			continue
		}
		seen++
		if !slices.ContainsFunc(let, func(name string) bool { return folder == name || strings.HasPrefix(folder, name+"/") }) {
			t.Errorf("the programs import from %s, and .dockerignore does not let it in", folder)
		}
	}
	if seen < 10 {
		t.Errorf("only %d of our folders were seen", seen)
	}
}
