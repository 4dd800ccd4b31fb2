package gather

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
)

// Metrics are asked for by their descriptions: a name that is text compiles when nothing has it any more. And a collector whose values
// are asked for is among those that are collected, as one whose values nobody asks for is not.
func TestMetricsAreAskedForByTheirDescriptions(t *testing.T) {
	definitions, err := collector.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	collectorsOf := map[string][]string{}
	for _, d := range definitions {
		for _, m := range d.Metrics {
			name := strings.ReplaceAll(strings.TrimPrefix(m.Name+m.NamePrefix, "pg_reliability_"), "_", "")
			collectorsOf[name] = append(collectorsOf[name], d.Name)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	collected := wanted()
	shown := map[string]bool{"volume": true, "container": true, "backup": true, "pgbouncer": true} // sources
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if strings.HasPrefix(n.Value, `"pg_`) {
					t.Errorf("%s names %s as text", name, n.Value)
				}
			case *ast.SelectorExpr:
				if of, ok := n.X.(*ast.Ident); ok && of.Name == "sqlmetric" {
					var by []string
					for _, c := range collectorsOf[strings.ToLower(n.Sel.Name)] {
						if shown[c] = true; slices.Contains(collected, c) {
							by = append(by, c)
						}
					}
					if by == nil {
						t.Errorf("%s asks for %s, which no collector that is collected has", name, n.Sel.Name)
					}
				}
			}
			return true
		})
	}
	for _, c := range collected {
		if !shown[c] {
			t.Errorf("%s is collected, and none of its values is asked for", c)
		}
	}
}
