package main

import (
	"strings"
	"testing"
)

// TestOnlyYesIsAYes keeps a slip of the finger, an empty line and the end of the input from replacing a database.
func TestOnlyYesIsAYes(t *testing.T) {
	for answer, want := range map[string]bool{
		"yes\n": true, "YES\n": true, " yes \n": true, "yes": true,
		"y\n": false, "\n": false, "": false, "no\n": false, "yesterday\n": false, strings.Repeat(" ", 1000) + "yes\n": false,
	} {
		var said strings.Builder
		err := ask(strings.NewReader(answer), &said, "database shop would be replaced")
		if (err == nil) != want {
			t.Errorf("%q: %v", answer, err)
		}
		if err != nil && exitCode("restore", err) != exitInterrupt {
			t.Errorf("%q: exit code %d", answer, exitCode("restore", err))
		}
		if !strings.Contains(said.String(), "shop would be replaced") {
			t.Errorf("%q: it does not say what would be done: %s", answer, said.String())
		}
	}
}
