package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

func TestHelpAndVersionPrintWhatWasAskedAndNoMore(t *testing.T) {
	for arg, want := range map[string]struct {
		usages int
		text   string
	}{
		"--help":    {1, "Exit codes:"},
		"--version": {0, "pg_reliability_backup, version "},
	} {
		var out bytes.Buffer
		none := func(string) (string, bool) { return "", false }
		if code := run(context.Background(), []string{arg}, none, &out, &out); code != exitOK {
			t.Errorf("%s: exit code %d", arg, code)
		}
		if n := strings.Count(out.String(), "usage: "); n != want.usages || !strings.Contains(out.String(), want.text) {
			t.Errorf("%s: the usage came %d times, not %d:\n%s", arg, n, want.usages, out.String())
		}
	}
}
