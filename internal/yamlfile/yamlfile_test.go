package yamlfile

import (
	"errors"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A file with a name of a megabyte, or with a hundred thousand mistakes, filled the log.
func TestMistakesAreToldInBrief(t *testing.T) {
	doc, err := Parse("f", []byte("? "+strings.Repeat("a", 100_000)+"\n: 1\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	r := &Reader{File: "f"}
	r.Fields(doc, "a thing", "b")
	for range 10_000 {
		r.Fail(&yaml.Node{Line: 7}, "wrong", "Right.")
	}
	if said := errors.Join(r.Errs...).Error(); len(said) > 10_000 || !strings.HasPrefix(said, "f:1: unknown key \"aaaa") ||
		!strings.HasSuffix(said, "f:7: wrong. HINT: Right.") {
		t.Errorf("%d bytes: %.500s", len(said), said)
	}
}
