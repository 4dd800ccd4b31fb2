package doctest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var composeNames = regexp.MustCompile(
	`docker compose (?:logs --since \w+|start|stop|restart|top|ps --all|exec(?: -T| -e \S+)*)((?: [a-z-]+)+)|pg-reliability-([a-z-]+)-1\b`)

// What a runbook says of compose behind `# or:` names services that docker-compose.yml has.
func TestServicesOfRunbooksExist(t *testing.T) {
	text, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var project struct{ Services map[string]any }
	if err := yaml.Unmarshal(text, &project); err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("../../alerts/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, page := range append(pages, "../../alerts/README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range composeNames.FindAllStringSubmatch(string(text), -1) {
			services := strings.Fields(found[1] + found[2])
			if strings.Contains(found[0], " exec ") {
				services = services[:1]
			}
			for _, service := range services {
				seen++
				if project.Services[service] == nil {
					t.Errorf("%s: %q names %s, which is no service", page, found[0], service)
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d services were found", seen)
	}
	t.Logf("%d services are named", seen)
}

// An alert that a chaos test begins to inject can't be forgotten.
func TestRunbooksOfInjectedAlerts(t *testing.T) {
	const table = "package x\nvar injected = map[string][]string{\"a\": {\"Marked\"}, \"b\": {\"-\"}%s}\nvar other = " +
		"map[string][]string{\"c\": {\"Free\"}}\n"
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
		if err != nil || len(books) != 2 || books[0].Injected || !books[1].Injected || len(books[0].Blocks) != 0 ||
			books[1].Blocks[0].Setup != "s=1\n" {
			t.Errorf("%s: %+v, %v", name, books, err)
		}
	}
}
