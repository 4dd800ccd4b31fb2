package sqltext_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestTextIsExecutedHereOnly: in the backup job, pgx's own Exec, which takes several statements where it has no parameters,
// is given constants alone. Whatever is made of values goes through sqltext.Exec.
func TestTextIsExecutedHereOnly(t *testing.T) {
	seen := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 2 {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || f.Sel.Name != "Exec" {
				return true
			}
			if room, ok := f.X.(*ast.Ident); ok && room.Name == "sqltext" {
				seen++
				return true
			}
			if _, constant := call.Args[1].(*ast.BasicLit); !constant {
				t.Errorf("%s executes text that is made: use sqltext.Exec", files.Position(call.Pos()))
			}
			return true
		})
		return nil
	})
	if err != nil || seen < 10 {
		t.Errorf("%d calls of sqltext.Exec were seen, %v", seen, err)
	}
}
