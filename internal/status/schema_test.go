package status

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

var update = flag.Bool("update", false, "rewrite docs/status.schema.json and the fields in docs/status-api.md")

const (
	schemaFile = "../../docs/status.schema.json"
	docsFile   = "../../docs/status-api.md"
	fieldsMark = "\n<!-- The fields below are written by: go test ./internal/status -update -->\n"
)

// words are the fields with a fixed list of values.
var words = map[string][]any{
	"state.status":        {Up, Degraded, Down, Unknown},
	"problems[].severity": {Critical, Warning},
	"server.role":         {"primary", "standby"},
	"probes[].name":       {"read", "login", "write"},
	"probes[].status":     {Up, Down, Unknown},
	"restarts[].kind":     {"restart", "crash", "failover", "promotion", "demotion", "container"},
}

// TestDocumentedSchema holds the types, the schema and the document together.
func TestDocumentedSchema(t *testing.T) {
	schema := published(t)
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	upToDate(t, schemaFile, append(text, '\n'))

	docs, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	written, _, ok := bytes.Cut(docs, []byte(fieldsMark))
	if !ok {
		t.Fatalf("%s has lost its mark %q", docsFile, fieldsMark)
	}
	var b bytes.Buffer
	b.Write(written)
	b.WriteString(fieldsMark + "\n| Field | Type | Meaning |\n|---|---|---|\n")
	fields(&b, schema, "")
	upToDate(t, docsFile, b.Bytes())
}

func upToDate(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is stale. HINT: Run go test ./internal/status -update and commit it", file)
	}
}

// published is the schema of the types, with their comments. Further fields are allowed, as later versions have them.
func published(t *testing.T) *jsonschema.Schema {
	t.Helper()
	schema, err := jsonschema.For[Status](&jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[time.Time](): {Type: "string", Format: "date-time"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	describe(schema, reflect.TypeFor[Status](), comments(t), "")
	schema.Schema = "https://json-schema.org/draft/2020-12/schema"
	schema.Title = "Answer of GET /api/status"
	schema.Properties["schema_version"].Const = jsonschema.Ptr[any](SchemaVersion)
	return schema
}

func describe(s *jsonschema.Schema, t reflect.Type, comments map[string]string, path string) {
	// A pointer is a value that may be left out; none is ever null.
	if len(s.Types) == 2 && slices.Contains(s.Types, "null") {
		s.Type, s.Types = s.Types[1-slices.Index(s.Types, "null")], nil
	}
	if list, ok := words[path]; ok {
		s.Enum = list
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case s.Type == "array":
		describe(s.Items, t.Elem(), comments, path+"[]")
	case t.Kind() == reflect.Struct && s.Type == "object":
		s.AdditionalProperties = nil
		for _, f := range reflect.VisibleFields(t) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			p := s.Properties[name]
			p.Description = comments[t.Name()+"."+f.Name]
			describe(p, f.Type, comments, strings.TrimPrefix(path+"."+name, "."))
		}
	}
}

// comments are those of this package's fields, by Type.Field.
func comments(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, file := range []string{"status.go", "history.go", "resources.go", "backups.go", "sessions.go", "watchdog.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				names := map[string]string{}
				for _, field := range s.Fields.List {
					tag, _, _ := strings.Cut(reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Get("json"), ",")
					names[field.Names[0].Name] = tag
				}
				for _, field := range s.Fields.List {
					text := strings.Join(strings.Fields(field.Doc.Text()), " ")
					out[spec.Name.Name+"."+field.Names[0].Name] = asInJSON(text, names)
				}
			}
			return false
		})
	}
	return out
}

// asInJSON names fields as the answer does.
func asInJSON(text string, names map[string]string) string {
	return regexp.MustCompile(`\b[A-Z]\w+`).ReplaceAllStringFunc(text, func(word string) string {
		if name, ok := names[word]; ok && strings.Contains(name, "_") || ok && strings.HasPrefix(text, word+" ") {
			return name
		}
		return word
	})
}

// fields writes one row a field, in the order of the types.
func fields(b *bytes.Buffer, s *jsonschema.Schema, path string) {
	for _, name := range s.PropertyOrder {
		p := s.Properties[name]
		full := strings.TrimPrefix(path+"."+name, ".")
		required := ""
		if slices.Contains(s.Required, name) {
			required = ", always there"
		}
		fmt.Fprintf(b, "| `%s` | %s%s | %s |\n", full, typeName(p), required, strings.ReplaceAll(p.Description, "|", `\|`))
		switch {
		case p.Type == "object" && p.Properties != nil:
			fields(b, p, full)
		case p.Type == "array" && p.Items.Properties != nil:
			fields(b, p.Items, full+"[]")
		}
	}
}

func typeName(s *jsonschema.Schema) string {
	switch {
	case s.Format == "date-time":
		return "time"
	case s.Type == "array":
		return "list"
	}
	return s.Type
}
