package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
)

// Each command's help says what it changes and has an example; each example is a call that the program takes, of that very command; and each
// flag says what is to be typed.
func TestEachCommandsHelpSaysWhatItChangesAndHasAnExampleThatIsTaken(t *testing.T) {
	app, _ := newApp()
	var names []string
	for _, c := range app.Model().FlattenedCommands() {
		if c.FullCommand == "help" {
			continue
		}
		names = append(names, c.FullCommand)
		a, known := abouts()[c.FullCommand]
		if !known {
			t.Errorf("abouts() lacks %s", c.FullCommand)
			continue
		}
		fresh, f := newApp()
		got, err := fresh.Parse(joinAt(a.example))
		if err == nil {
			err = f.check()
		}
		if err != nil || got != c.FullCommand {
			t.Errorf("the example of %s, %q: %q, %v", c.FullCommand, a.example, got, err)
		}
		var out bytes.Buffer
		none := func(string) (string, bool) { return "", false }
		if code := run(context.Background(), append(strings.Fields(c.FullCommand), "--help"), none, &out, &out); code != exitOK {
			t.Errorf("%s --help: exit code %d", c.FullCommand, code)
		}
		help := out.String()
		flat := strings.Join(strings.Fields(help), " ")
		if !strings.Contains(flat, a.changes) || !strings.Contains(help, "\n  "+typed(a.example)+"\n") {
			t.Errorf("%s --help does not say what it changes, or has no example:\n%s", c.FullCommand, help)
		}
		if strings.Contains(help, "=VALUE ") || strings.Contains(help, "=VALUE\n") {
			t.Errorf("%s --help does not say what is to be typed:\n%s", c.FullCommand, help)
		}
	}
	for name := range abouts() {
		if !slices.Contains(names, name) {
			t.Errorf("there is no command %s", name)
		}
	}
}
