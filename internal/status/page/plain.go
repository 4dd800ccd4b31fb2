package page

import (
	"bytes"
	"io"
	"unicode"
)

// plain passes a document on without control characters but line breaks and tabs: a server's text is escaped for a browser, and would
// still move the terminal of who asks with curl.
type plain struct{ w io.Writer }

func (p plain) Write(b []byte) (int, error) {
	clean := bytes.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, b)
	if _, err := p.w.Write(clean); err != nil {
		return 0, err
	}
	return len(b), nil
}
