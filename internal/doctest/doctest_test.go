package doctest

import (
	"strings"
	"testing"
)

func all(string) bool { return true }

func TestBlocks(t *testing.T) {
	blocks, err := parse("docs/x.md", "# X\n<!-- test: host setup -->\n```sh\na=1\n```\n\n<!-- test: host -->\n\n```sh\necho "+
		"$a\n```\n```text\n1\n```\n"+
		"<!-- test: not run: it burns -->\n```sql\nDROP\n```\n```text\nno output\n```\n```yaml\nb: 1\n```\n<!-- test: compose "+
		"-->\n```sh\nc\n```\n", map[string]string{}, all)
	if err != nil {
		t.Fatal(err)
	}
	if len(blocks) != 3 {
		t.Fatalf("%d blocks: %+v", len(blocks), blocks)
	}
	if b := blocks[0]; b.Place != Host || b.Setup != "a=1\n" || b.Script != "echo $a" || strings.Join(b.Want, "|") != "1" ||
		b.Name() != "x.md:10" {
		t.Errorf("%+v", b)
	}
	if b := blocks[1]; b.Place != NotRun || b.Reason != "it burns" || b.Language != "sql" {
		t.Errorf("%+v", b)
	}
	if b := blocks[2]; b.Place != Compose || b.Setup != "" {
		t.Errorf("%+v", b)
	}
}

func TestBlocksThatNobodyRunsAreErrors(t *testing.T) {
	for name, text := range map[string]string{
		"no directive":      "```sh\na\n```\n",
		"no reason":         "<!-- test: not run: -->\n```sh\na\n```\n",
		"unknown place":     "<!-- test: elsewhere -->\n```sh\na\n```\n",
		"no block":          "<!-- test: host -->\nwords\n```sh\na\n```\n",
		"directive at last": "<!-- test: host -->\n",
		"no end":            "<!-- test: host -->\n```sh\na\n",
		"twice":             "<!-- test: host -->\n<!-- test: compose -->\n```sh\na\n```\n",
		"another language":  "<!-- test: host -->\n```yaml\na: 1\n```\n",
	} {
		if blocks, err := parse("x.md", text, map[string]string{}, all); err == nil {
			t.Errorf("%s: no error, blocks %+v", name, blocks)
		}
	}
}

// In a runbook a block of sql needs no directive; what has one is run after what the shell's page sets up.
func TestBlocksThatMayBeRun(t *testing.T) {
	text := "```sql\nSELECT 1;\n```\n```text\nno output\n```\n<!-- test: host -->\n```bash\necho $a\n```\n"
	blocks, err := parse("x.md", text, map[string]string{Host: "a=1\n"}, func(language string) bool { return language == "sh" })
	if err != nil || len(blocks) != 1 || blocks[0].Setup != "a=1\n" || blocks[0].Language != "sh" || blocks[0].Want != nil {
		t.Errorf("%+v, %v", blocks, err)
	}
	if blocks, err := parse("x.md", text+"```bash\nb\n```\n", map[string]string{},
		func(language string) bool { return language == "sh" }); err == nil {
		t.Errorf("no error for a block that nobody runs: %+v", blocks)
	}
}

func TestMissing(t *testing.T) {
	b := Block{Want: []string{"a: 1", "took ... s"}}
	for output, want := range map[string]string{
		"x a:1\ntook 5 s":  "",
		"took 5 s\na: 1":   "took ... s",
		"a: 2\ntook 5 s":   "a: 1",
		"\"a: 1\" took5.s": "",
	} {
		if got := b.Missing(output); got != want {
			t.Errorf("%q: %q is missing, want %q", output, got, want)
		}
	}
}
