package doctest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An alert that a chaos test begins to inject can't be forgotten.
func TestRunbooksOfInjectedAlerts(t *testing.T) {
	const table = "package x\nvar injected = map[string][]string{\"a\": {\"Marked\"}, \"b\": {\"-\"}%s}\nvar other = map[string][]string{\"c\": {\"Free\"}}\n"
	const marked, free = "<!-- test: host -->\n```sh\na\n```\n", "```sh\nb\n```\n"
	for name, c := range map[string]struct{ more, want string }{
		"all marked":        {"", ""},
		"one is not marked": {", \"c\": {\"Free\"}", "Free.md:1: nobody runs this block"},
		"one has no page":   {", \"c\": {\"Gone\"}", "no runbooks of Gone"},
	} {
		root := t.TempDir()
		if err := os.MkdirAll(filepath.Join(root, "alerts/runbooks"), 0o755); err != nil {
			t.Fatal(err)
		}
		for path, text := range map[string]string{
			"coverage_test.go": strings.Replace(table, "%s", c.more, 1), "runbooks/Marked.md": marked, "runbooks/Free.md": free,
			"README.md": "<!-- test: host setup -->\n```sh\ns=1\n```\n",
		} {
			if err := os.WriteFile(filepath.Join(root, "alerts", path), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		books, err := Runbooks(root)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: want %q, got %v", name, c.want, err)
			}
			continue
		}
		if err != nil || len(books) != 2 || books[0].Injected || !books[1].Injected || len(books[0].Blocks) != 0 || books[1].Blocks[0].Setup != "s=1\n" {
			t.Errorf("%s: %+v, %v", name, books, err)
		}
	}
}
