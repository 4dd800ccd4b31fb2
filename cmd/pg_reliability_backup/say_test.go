package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
)

// TestNoNameMovesTheCursor: names of databases, schemas and tables, and comments, are whatever a login role makes them.
func TestNoNameMovesTheCursor(t *testing.T) {
	b := newBench(t)
	name := func(of string) string {
		return of + "\x1b[31mred\x1b]0;title\x07\n\r20991231T000000Z-1  verified\u009b1m"
	}
	quote := func(of string) string { return fmt.Sprintf(`"%s"`, name(of)) }
	if err := b.pg.Exec(context.Background(), "CREATE DATABASE "+quote("d")); err != nil {
		t.Fatal(err)
	}
	if err := b.pg.ExecIn(context.Background(), name("d"), "CREATE SCHEMA "+quote("s"), "CREATE TABLE "+quote("s")+"."+quote("t")+
		" (i int)"); err != nil {
		t.Fatal(err)
	}
	b.must("run")
	for _, args := range [][]string{
		{"list"}, {"show"}, {"prune", "--dry-run"}, {"restore", "--dry-run", "--database", name("d")},
		{"restore", "--list", "--database", name("d")}, {"restore", "--database", name("d")}, {"bootstrap"},
	} {
		out := b.super().must(args...)
		for _, bad := range []string{"\x1b", "\x07", "\r", "\u009b", "\n20991231T000000Z-1"} {
			if strings.Contains(out, bad) {
				t.Errorf("%s: %q is in %q", args[0], bad, out)
			}
		}
	}
	var text bytes.Buffer
	if _, err := fmt.Fprint(quiet{&text}, "a\x1bb\n\tc"); err != nil || text.String() != "a?b\n\tc" {
		t.Errorf("%q, %v", text.String(), err)
	}
}
