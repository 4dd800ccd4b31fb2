// Package sqltext is the one place where a value becomes part of a statement, and the one through which
// such a statement reaches a server.
//
// Where SQL takes a parameter ($1), use that. Commands about roles and databases take none: there, a name goes
// through Ident, a value through Literal, and the whole through Exec, which the server makes sure is one
// statement. A value that was not quoted can then break its own statement, and never begin another.
package sqltext

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Ident quotes an identifier, or a qualified one of several parts, as Text writes them.
func Ident(parts ...string) string {
	quoted := make([]string, len(parts))
	for i, p := range parts {
		quoted[i] = `"` + strings.ReplaceAll(Bytes(p), `"`, `""`) + `"`
	}
	return strings.Join(quoted, ".")
}

// Shown is a name, as Text writes it, as a person can copy it into a statement: quoted where it would not be understood otherwise.
func Shown(parts ...string) string {
	shown := make([]string, len(parts))
	for i, p := range parts {
		if shown[i] = p; !bare.MatchString(p) {
			shown[i] = `"` + strings.ReplaceAll(p, `"`, `""`) + `"`
		}
	}
	return strings.Join(shown, ".")
}

var bare = regexp.MustCompile(`^[a-z_][a-z0-9_$]*$`)

// Literal quotes a string, as Text writes it, whatever standard_conforming_strings says: one with a backslash is written as
// E'...', with a space before it, as PostgreSQL's own quote_literal does.
func Literal(s string) string {
	q := "'" + strings.ReplaceAll(Bytes(s), "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return " E" + strings.ReplaceAll(q, `\`, `\\`)
	}
	return q
}

// Exec executes one statement. The extended protocol takes no more than one: the server refuses `a; b`.
//
// Text that the server would read as another than was meant is an error before anything is sent: a zero byte,
// which ends a statement on the wire, and characters beyond ASCII in a session whose encoding is not UTF8. In
// some encodings, half of such a character is a quote. (SQL_ASCII is bytes that nothing translates.)
func Exec(ctx context.Context, conn *pgx.Conn, sql string) error {
	if strings.IndexByte(sql, 0) >= 0 {
		return fmt.Errorf("a statement holds a zero byte")
	}
	if e := conn.PgConn().ParameterStatus("client_encoding"); e != "UTF8" && e != "SQL_ASCII" && !ascii(sql) {
		return fmt.Errorf("a statement holds characters beyond ASCII, and the session's client_encoding is %s, not UTF8", e)
	}
	return conn.PgConn().ExecParams(ctx, sql, nil, nil, nil, nil).Read().Err
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
