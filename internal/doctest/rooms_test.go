package doctest

import (
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/pg-reliability/pg_reliability_exporter/"

// imports are the rooms that the program's files of a room import.
func imports(t *testing.T, room string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../..", room, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range parsed.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if to, ours := strings.CutPrefix(path, module); ours {
				out[to] = true
			}
		}
	}
	return out
}

// below are all rooms that arrows lead to, over others and directly.
func below(arrows map[string]map[string]bool, room string, seen map[string]bool) map[string]bool {
	for to := range arrows[room] {
		if !seen[to] {
			seen[to] = true
			below(arrows, to, seen)
		}
	}
	return seen
}

// The picture of the rooms: each is there, each arrow is an import, and no import is left out that no drawn way stands for.
func TestThePictureOfTheRoomsIsTrue(t *testing.T) {
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, picture, _ := strings.Cut(string(text), "```mermaid\n")
	picture, _, _ = strings.Cut(picture, "```")
	rooms := map[string]string{} // by the short name in the picture
	for _, m := range regexp.MustCompile(`(\w+)\["([\w/]+)`).FindAllStringSubmatch(picture, -1) {
		rooms[m[1]] = m[2]
	}
	drawn := map[string]map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^ *(\w+) --> (.*)$`).FindAllStringSubmatch(picture, -1) {
		from := rooms[m[1]]
		drawn[from] = map[string]bool{}
		has := imports(t, from)
		for _, short := range strings.Split(m[2], " & ") {
			to := rooms[short]
			if drawn[from][to] = true; to == "" || !has[to] {
				t.Errorf("%s does not import %s", from, to+" ("+short+")")
			}
		}
	}
	for _, from := range rooms {
		has := imports(t, from)
		if files, _ := filepath.Glob(filepath.Join("../..", from, "*.go")); len(files) == 0 {
			t.Errorf("there is no room %s", from)
		}
		led := below(drawn, from, map[string]bool{})
		for _, to := range rooms {
			if has[to] && !led[to] {
				t.Errorf("%s imports %s, and no arrow leads there", from, to)
			}
		}
	}
	if len(rooms) < 10 || len(drawn) < 10 {
		t.Errorf("%d rooms, %d with arrows", len(rooms), len(drawn))
	}
}

// The list of rooms in CONTRIBUTING.md names what is there, and each folder with a package has a line, or its parent has.
func TestTheListOfRoomsIsWhole(t *testing.T) {
	text, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "## The rooms")
	list, _, _ = strings.Cut(list, "\n\nArrows")
	listed := map[string]bool{}
	for _, line := range strings.Split(list, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
			listed[m[1]] = true
			if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil {
				t.Errorf("CONTRIBUTING.md lists %s, which is not there", m[1])
			}
		}
	}
	for _, top := range []string{"cmd/*", "internal/*", "collector", "collector/*", "backup", "alerts", "dashboards", "deploy"} {
		folders, err := filepath.Glob(filepath.Join("../..", top))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range folders {
			if files, _ := filepath.Glob(filepath.Join(f, "*.go")); len(files) == 0 {
				continue
			}
			if name, _ := filepath.Rel("../..", f); !listed[name] {
				t.Errorf("CONTRIBUTING.md has no line for %s, only for %v", name, slices.Sorted(maps.Keys(listed)))
			}
		}
	}
}
