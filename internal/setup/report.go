package setup

import (
	"fmt"
	"io"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
)

// report tells a person what is there, what is changed, and what would be.
type report struct {
	out     io.Writer
	dry     bool
	changes int
}

// kept says that something is as it should be.
func (r *report) kept(format string, args ...any) { r.line("fine:   ", fmt.Sprintf(format, args...)) }

// note says what a person should know.
func (r *report) note(format string, args ...any) { r.line("note:   ", fmt.Sprintf(format, args...)) }

// change does one thing and says so; what is a command to do it, such as "make the role x". A dry run only says it.
func (r *report) change(do func() error, format string, args ...any) error {
	r.changes++
	what := fmt.Sprintf(format, args...)
	if r.dry {
		r.line("to do:  ", what)
		return nil
	}
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	r.line("done:   ", what)
	return nil
}

func (r *report) summary() {
	switch {
	case r.changes == 0:
		fmt.Fprintln(r.out, "\nEverything is set up already. Nothing was changed.")
	case r.dry:
		fmt.Fprintf(r.out, "\n%d things are to be done, and nothing was changed. Without --dry-run they are done.\n", r.changes)
	default:
		fmt.Fprintf(r.out, "\nDone: %d changes. Run again, setup finds nothing to do.\n", r.changes)
	}
}

// line writes one line. Names may come from the server: none of them moves the cursor.
func (r *report) line(mark, text string) { fmt.Fprintln(r.out, mark+catalog.Printable(text)) }
