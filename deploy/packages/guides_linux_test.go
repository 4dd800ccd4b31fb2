package packages_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/doctest"
)

// guides are the blocks that documents mark for this machine.
type guides struct {
	blocks []doctest.Block
	run    map[string]bool
}

func readGuides(t *testing.T) *guides {
	t.Helper()
	g := &guides{run: map[string]bool{}}
	add := func(blocks []doctest.Block) {
		for _, b := range blocks {
			if b.Place == doctest.Packages {
				g.blocks = append(g.blocks, b)
			}
		}
	}
	for _, guide := range doctest.Guides() {
		blocks, err := doctest.Blocks(filepath.Join("../..", guide))
		if err != nil {
			t.Fatal(err)
		}
		add(blocks)
	}
	books, err := doctest.Runbooks("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, book := range books {
		add(book.Blocks)
	}
	return g
}

// complete fails for a block that no step has followed.
func (g *guides) complete(t *testing.T) {
	t.Helper()
	for _, b := range g.blocks {
		if !g.run[b.Name()] {
			t.Errorf("%s says that it is run here, and no step does", b.Name())
		}
	}
	t.Logf("%d blocks of documents were run", len(g.blocks))
}

// block is the one of a document that has a piece; a line end in the piece is one of the block, too.
func (c *container) block(document, piece string) doctest.Block {
	c.t.Helper()
	var found []doctest.Block
	for _, b := range c.guides.blocks {
		if filepath.Base(b.File) == document && strings.Contains("\n"+b.Script+"\n", piece) {
			found = append(found, b)
		}
	}
	if len(found) != 1 {
		c.t.Fatalf("%d blocks of %s have %q", len(found), document, piece)
	}
	c.guides.run[found[0].Name()] = true
	found[0].Script = doctest.ForVersion(found[0].Script, c.version())
	return found[0]
}

// follow runs a block as a reader does, after what the test has to do before it, and returns what it printed.
func (c *container) follow(document, piece, before string) string {
	c.t.Helper()
	b := c.block(document, piece)
	script := before + "\n" + b.Script
	if b.Language == "sql" {
		script = before + "\nrunuser -u postgres -- psql --set=ON_ERROR_STOP=1 <<'SQL-ENDS'\n" + b.Script + "\nSQL-ENDS"
	}
	out, err := c.shell(script, "bash", "-euo", "pipefail", "-c")
	if err != nil {
		c.t.Fatalf("%s: %v", b.Name(), err)
	}
	if missing := b.Missing(out); missing != "" {
		c.t.Errorf("%s\nthe output has no %q:\n%s", b.Script, missing, out)
	}
	c.t.Logf("%s:\n%s", b.Name(), out)
	return out
}

// version is that of the machine's PostgreSQL, unit its cluster's unit.
func (c *container) version() string {
	c.t.Helper()
	return c.run("ls /usr/lib/postgresql | sort -V | tail -n 1")
}

func (c *container) unit() string { return "postgresql@" + c.version() + "-main" }
