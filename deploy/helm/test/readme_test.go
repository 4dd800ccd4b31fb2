package test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chartutil"
	"sigs.k8s.io/yaml"
)

type value struct{ path, about, standard string }

var keyLine = regexp.MustCompile(`^( *)([A-Za-z]+):`)

// documented are the values of values.yaml that a comment "-- " describes, in their order.
func documented(t *testing.T) []value {
	t.Helper()
	text, err := os.ReadFile(chartDir + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defaults, err := chartutil.ReadValues(text)
	if err != nil {
		t.Fatal(err)
	}
	var found []value
	var path []string
	about := ""
	for line := range strings.Lines(string(text)) {
		comment, isComment := strings.CutPrefix(strings.TrimSpace(line), "# ")
		switch first, begins := strings.CutPrefix(comment, "-- "); {
		case isComment && begins:
			about = first
		case isComment && about != "":
			about += " " + comment
		}
		m := keyLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		path = append(path[:len(m[1])/2], m[2])
		if about != "" {
			standard, err := json.Marshal(at(defaults, path))
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, value{strings.Join(path, "."), about, string(standard)})
			about = ""
		}
	}
	return found
}

func at(v map[string]any, path []string) any {
	if len(path) == 1 {
		return v[path[0]]
	}
	return at(v[path[0]].(map[string]any), path[1:])
}

func TestReadmeHasEveryValue(t *testing.T) {
	const begin, end = "<!-- values: written by make test-helm TESTFLAGS=-update -->\n", "<!-- end of values -->\n"
	var table strings.Builder
	table.WriteString("\n| Value | Default | |\n|---|---|---|\n")
	for _, v := range documented(t) {
		fmt.Fprintf(&table, "| `%s` | `%s` | %s |\n", v.path, strings.ReplaceAll(v.standard, "|", `\|`), v.about)
	}
	table.WriteString("\n")
	file := chartDir + "/README.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has lost the marks of its table", file)
	}
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+table.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if old != table.String() {
		t.Errorf("the table of README.md is not what values.yaml says. HINT: make test-helm TESTFLAGS=-update")
	}
}

// The schema, values.yaml and its comments know the same values: none is accepted and ignored, none is undocumented.
func TestSchemaAndValuesAgree(t *testing.T) {
	text, err := os.ReadFile(chartDir + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	type node struct {
		Properties           map[string]*node
		Ref                  string `json:"$ref"`
		Type                 any
		AdditionalProperties any
		Defs                 map[string]*node `json:"$defs"`
	}
	var schema node
	if err := yaml.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	var leaves []string
	var walk func(n *node, path string)
	walk = func(n *node, path string) {
		if n.Ref != "" {
			n = schema.Defs[strings.TrimPrefix(n.Ref, "#/$defs/")]
		}
		if len(n.Properties) > 0 && n.AdditionalProperties != false {
			t.Errorf("%s takes any key", path)
		}
		if len(n.Properties) == 0 || strings.HasSuffix(path, ".resources") {
			leaves = append(leaves, strings.TrimPrefix(path, "."))
			return
		}
		for key, child := range n.Properties {
			walk(child, path+"."+key)
		}
	}
	walk(&schema, "")
	var known []string
	for _, v := range documented(t) {
		known = append(known, v.path)
	}
	known = append(known, "global") // Helm's own
	slices.Sort(leaves)
	slices.Sort(known)
	if !slices.Equal(leaves, known) {
		for _, leaf := range leaves {
			if !slices.Contains(known, leaf) {
				t.Errorf("the schema has %s, values.yaml does not describe it", leaf)
			}
		}
		for _, name := range known {
			if !slices.Contains(leaves, name) {
				t.Errorf("values.yaml has %s, the schema does not", name)
			}
		}
	}
}
