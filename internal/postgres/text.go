package postgres

import (
	"errors"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// textLimit bounds a server's message, in bytes: longer ones end with "..." on the page, in /api/status and in the log.
	textLimit = 1000
	// partLimit bounds the lesser parts of a server's report, such as its hint.
	partLimit = 300
)

// clean makes a text of a server fit for a page, a log and a label: no longer than limit bytes, without control
// characters, in valid UTF-8.
func clean(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(cut(text, limit), "\uFFFD"))
	return cut(text, limit) // what was no UTF-8 has become longer
}

// cut shortens a text to limit bytes, between two characters.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	const more = "..."
	if limit <= len(more) {
		return ""
	}
	at := limit - len(more)
	for at > 0 && !utf8.RuneStart(text[at]) {
		at--
	}
	return text[:at] + more
}

// tidy is an error of the driver's with its texts cleaned, and without anything that would keep a long message in memory.
// ReasonOf, and errors.As for the server's report, find in it what they found in err.
func tidy(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		if text := clean(err.Error(), textLimit); text != err.Error() {
			return &saidError{text: text, reason: ReasonOf(err), tooMuch: errors.Is(err, ErrTooMuch)}
		}
		return err
	}
	if err == error(pg) { //nolint:errorlint // the report itself, with no text of the driver's around it
		return tidyReport(pg)
	}
	return &saidError{text: clean(err.Error(), textLimit), reason: ReasonOf(err), report: tidyReport(pg)}
}

// saidError is what is kept of an error whose text came from a server.
type saidError struct {
	text    string
	reason  Reason
	report  *pgconn.PgError // nil where the server did not report the error itself
	tooMuch bool
	gone    bool // it could not be sent to any more
}

func (e *saidError) Error() string { return e.text }

func (e *saidError) Unwrap() []error {
	var out []error
	if e.report != nil {
		out = append(out, e.report)
	}
	if e.tooMuch {
		out = append(out, ErrTooMuch)
	}
	if e.gone {
		out = append(out, syscall.EPIPE)
	}
	return out
}

func tidyReport(e *pgconn.PgError) *pgconn.PgError {
	out := *e
	for _, part := range []*string{
		&out.Severity, &out.SeverityUnlocalized, &out.Detail, &out.Hint, &out.InternalQuery, &out.Where, &out.SchemaName,
		&out.TableName, &out.ColumnName, &out.DataTypeName, &out.ConstraintName, &out.File, &out.Routine,
	} {
		*part = clean(*part, partLimit)
	}
	const sqlState = 5
	out.Code, out.Message = out.Code[:min(len(out.Code), sqlState)], clean(out.Message, textLimit)
	return &out
}
