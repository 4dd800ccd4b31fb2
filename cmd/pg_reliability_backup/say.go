package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
)

// say writes text for people. Names and messages come from a server or a repository, and may be made to move the cursor, name the
// window, or look like another line: of each argument that is text, control characters are replaced.
// counted is a number with its noun: 1 table, 2 tables.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func say(w io.Writer, format string, args ...any) {
	for i, a := range args {
		switch a := a.(type) {
		case string:
			args[i] = catalog.Printable(a)
		case error:
			args[i] = catalog.Printable(a.Error())
		}
	}
	_, _ = fmt.Fprintf(w, format, args...)
}

// quiet passes on what a program says, line by line, without other control characters.
type quiet struct{ w io.Writer }

func (q quiet) Write(p []byte) (int, error) {
	_, err := io.WriteString(q.w, strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return []rune(catalog.Printable(string(r)))[0]
	}, string(p)))
	return len(p), err
}
