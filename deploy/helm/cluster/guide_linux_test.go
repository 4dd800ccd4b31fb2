package cluster_test

import (
	"os"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/doctest"
)

// guide is docs/kubernetes.md: its commands, and its values.
type guide struct {
	text   string
	blocks []doctest.Block
	run    map[string]bool
}

func readGuide(t *testing.T, path string) *guide {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := doctest.Blocks(path)
	if err != nil {
		t.Fatal(err)
	}
	g := &guide{text: string(text), run: map[string]bool{}}
	for _, b := range blocks {
		if b.Place == doctest.Kubernetes {
			g.blocks = append(g.blocks, b)
		}
	}
	return g
}

// complete fails for a block that no step has followed.
func (g *guide) complete(t *testing.T) {
	t.Helper()
	for _, b := range g.blocks {
		if !g.run[b.Name()] {
			t.Errorf("%s says that it is run here, and no step does", b.Name())
		}
	}
	t.Logf("%d blocks of commands of the guide were run", len(g.blocks))
}

// block is the one block of commands that has a piece.
func (c *cluster) block(piece string) string {
	c.t.Helper()
	var found []doctest.Block
	for _, b := range c.guide.blocks {
		if strings.Contains(b.Script, piece) {
			found = append(found, b)
		}
	}
	if len(found) != 1 {
		c.t.Fatalf("%d blocks of the guide have %q", len(found), piece)
	}
	c.guide.run[found[0].Name()] = true
	return found[0].Script
}

// values are those that follow a comment in the guide, for this database's name.
func (c *cluster) values(comment string) string {
	c.t.Helper()
	_, rest, found := strings.Cut(c.guide.text, "```yaml\n# "+comment+"\n")
	values, _, end := strings.Cut(rest, "```")
	if !found || !end {
		c.t.Fatalf("the guide has no values under %q", comment)
	}
	return strings.ReplaceAll(values, "db1.example.com", databaseHost)
}

// note is the one command of helm's notes that has a piece.
func (c *cluster) note(piece string) string {
	c.t.Helper()
	for line := range strings.Lines(c.notes) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "kubectl ") && strings.Contains(line, piece) {
			return line
		}
	}
	c.t.Fatalf("helm printed no command with %q: %s", piece, c.notes)
	return ""
}
