package doctest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Runbook is the page of an alert, with what tests run of it.
type Runbook struct {
	Alert string
	// Injected is whether a chaos test makes the alert fire. Then nothing of sh is run by nobody.
	Injected bool
	Blocks   []Block
}

// Runbooks reads alerts/runbooks below the repository's root, sorted by alert. What alerts/README.md sets up is set up
// before each block. It is an error that an injected alert has no page, or a block of sh without a directive.
func Runbooks(root string) ([]Runbook, error) {
	injected, err := injectedAlerts(filepath.Join(root, "alerts/coverage_test.go"))
	if err != nil {
		return nil, err
	}
	shell := map[string]string{}
	if _, err := read(filepath.Join(root, "alerts/README.md"), shell, func(string) bool { return false }); err != nil {
		return nil, err
	}
	pages, err := filepath.Glob(filepath.Join(root, "alerts/runbooks/*.md"))
	if err != nil {
		return nil, fmt.Errorf("list the runbooks: %w", err)
	}
	var books []Runbook
	for _, page := range pages {
		alert := strings.TrimSuffix(filepath.Base(page), ".md")
		at := slices.Index(injected, alert)
		setup := map[string]string{Host: shell[Host], Compose: shell[Compose]}
		blocks, err := read(page, setup, func(language string) bool { return at >= 0 && language == "sh" })
		if err != nil {
			return nil, err
		}
		books = append(books, Runbook{Alert: alert, Injected: at >= 0, Blocks: blocks})
		if at >= 0 {
			injected = slices.Delete(injected, at, at+1)
		}
	}
	if len(injected) > 0 {
		return nil, fmt.Errorf("no runbooks of %s, which chaos tests inject", strings.Join(injected, ", "))
	}
	return books, nil
}

// injectedAlerts are those in the values of `injected`, the table of the chaos tests.
func injectedAlerts(path string) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("read what chaos tests inject: %w", err)
	}
	var alerts []string
	ast.Inspect(file, func(n ast.Node) bool {
		table, ok := n.(*ast.ValueSpec)
		if !ok || table.Names[0].Name != "injected" || len(table.Values) != 1 {
			return true
		}
		rows, _ := table.Values[0].(*ast.CompositeLit)
		if rows == nil {
			return false
		}
		for _, row := range rows.Elts {
			pair, ok := row.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			ast.Inspect(pair.Value, func(n ast.Node) bool {
				if name, ok := n.(*ast.BasicLit); ok && name.Kind == token.STRING {
					if alert, err := strconv.Unquote(name.Value); err == nil && alert != "-" {
						alerts = append(alerts, alert)
					}
				}
				return true
			})
		}
		return false
	})
	if len(alerts) == 0 {
		return nil, fmt.Errorf("%s has no table `injected` of alerts. HINT: Tell internal/doctest where it went", path)
	}
	slices.Sort(alerts)
	return slices.Compact(alerts), nil
}
