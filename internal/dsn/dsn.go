// Package dsn reads connection strings: one strict parser for all programs. What libpq would take in another way
// than its writer meant is refused: a scheme that is not ours is never read as keyword=value (the password would
// be sent to another server), and a keyword that nobody knows is no setting. No refusal repeats any of the string.
//
// The grammar is libpq's: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING
package dsn

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Params are a connection string's keywords, as libpq names them, with their values.
type Params map[string]string

// Malformed is a string that is refused. Its text tells the place and the remedy, and nothing of the string.
type Malformed struct {
	What string
	Hint string
}

func (m *Malformed) Error() string { return m.What + ". HINT: " + m.Hint }

const (
	hintForms = "Write postgres://user@host:5432/database?sslmode=verify-full, or host=... port=... user=... dbname=..."
	// HintEscape says how a URL holds any character.
	HintEscape = "In a URL, write %23 for #, %40 for @, %2F for /, %3F for ?, %3A for :, %25 for %, %20 for a space"
	hintQuote  = "A value with a space is quoted: password='two words'; within quotes, ' is written \\' and \\ is written \\\\"
)

func malformed(hint, what string, args ...any) error {
	return &Malformed{What: fmt.Sprintf(what, args...), Hint: hint}
}

// Parse reads a URL or a keyword/value string. The empty string has no keywords. An error is a *Malformed.
func Parse(s string) (Params, error) {
	if i := strings.IndexByte(s, 0); i >= 0 {
		return nil, malformed(hintForms, "it has a zero byte")
	}
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if rest, ok := strings.CutPrefix(s, scheme); ok {
			return parseURL(rest)
		}
	}
	if s != "" && strings.ContainsRune(`"'`+"`", rune(s[0])) {
		return nil, malformed("Leave the quotes out: in a shell they end before the program, but in the environment of Docker Compose, an "+
			"env file or a unit they are a part of the value. "+hintForms, "it begins with a quote")
	}
	if strings.HasPrefix(s, "jdbc:") {
		return nil, malformed("jdbc: is for Java alone. "+hintForms, "it begins with jdbc:")
	}
	// A URL has its :// before any =; behind one, it belongs to a value.
	if before, _, ok := strings.Cut(s, "://"); ok && !strings.Contains(before, "=") {
		return nil, malformed(hintForms, "it is a URL whose beginning is neither postgres:// nor postgresql://, exactly so")
	}
	return parseKeywords(s)
}

// String is the keyword/value form, which Parse and libpq read back to the same.
func (p Params) String() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(p)) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(k + "='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(p[k]) + "'")
	}
	return b.String()
}

// set enters a keyword that was found at a place, e.g. "keyword 3". Of two values the last one counts, as in libpq.
func (p Params) set(keyword, value, place string) error {
	if keyword == "database" { // pgx's word, which other tools took over
		keyword = "dbname"
	}
	if _, known := keywords[keyword]; !known {
		hint := "The keywords are libpq's; a setting of the server is written options='-c name=value'. " + hintForms
		if near := nearest(keyword); near != "" {
			hint = "Is " + near + " meant? " + hint
		}
		return malformed(hint, "%s is not known", place)
	}
	if strings.ContainsRune(value, 0) {
		return malformed(hintForms, "the value of %s has a zero byte", keyword)
	}
	if err := check(keyword, value); err != nil {
		return err
	}
	p[keyword] = value
	return nil
}
