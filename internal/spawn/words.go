package spawn

import (
	"errors"
	"strings"
)

var errQuote = errors.New("a quote is not closed. HINT: Close it, or put the whole argument in quotes of the other kind")

// Words parts a command line at its spaces. A text in single quotes is taken as it is; within double quotes, \" and \\
// stand for " and \; outside of quotes a backslash takes the next character as it is. Nothing else has a meaning: no
// variable is filled in, and no shell reads it.
func Words(line string) ([]string, error) {
	var out []string
	var word strings.Builder
	began, escaped, quote := false, false, rune(0)
	for _, c := range line {
		switch {
		case escaped:
			if quote == '"' && c != '"' && c != '\\' {
				word.WriteByte('\\')
			}
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, began = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, began = c, true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if began {
				out, began = append(out, word.String()), false
				word.Reset()
			}
		default:
			word.WriteRune(c)
			began = true
		}
	}
	if quote != 0 {
		return nil, errQuote
	}
	if escaped {
		return nil, errors.New("it ends in a backslash. HINT: Remove it, or write \\\\ for a backslash")
	}
	if began {
		out = append(out, word.String())
	}
	return out, nil
}
