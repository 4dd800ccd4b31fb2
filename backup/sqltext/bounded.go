package sqltext

import "strconv"

// What a role or a database says of itself (a comment, a label, a setting) may be hundreds of megabytes long, and any role may say
// that much of itself. Nobody means such a text: it is left out by who reads it, and named.
const (
	// MostBytes of one text are kept.
	MostBytes = 64 << 10
	// mostOfOne and mostOfAll bound all texts that one role or database has, and all together.
	mostOfOne, mostOfAll = 128 << 10, 32 << 20
	// mostTexts is how many one may have.
	mostTexts = 1000
	// beginning is what is read of a text that is too long: enough to name a setting by.
	beginning = 128
)

// Short is an expression of a text as two: the text, of which one that is too long is its beginning alone, and its length in bytes.
// (octet_length and left work with bytes that are not of the database's encoding, too.)
func Short(expression string) string {
	length := "pg_catalog.octet_length(" + expression + ")"
	return "CASE WHEN " + length + " > " + strconv.Itoa(MostBytes) + " THEN pg_catalog.left(" + expression + ", " +
		strconv.Itoa(beginning) + ") ELSE coalesce(" + expression + ", '') END, coalesce(" + length + ", 0)::bigint"
}

// Texts counts what is kept of such texts in one backup. Its zero value has counted nothing.
type Texts struct {
	all  int64
	of   string
	here int64
	n    int
}

// Keep says whether a text of so many bytes is kept, the texts of one role or database coming one after the other.
func (t *Texts) Keep(of string, bytes int64) bool {
	if t.of != of {
		t.of, t.here, t.n = of, 0, 0
	}
	if t.n++; bytes > MostBytes || t.here+bytes > mostOfOne || t.all+bytes > mostOfAll || t.n > mostTexts {
		return false
	}
	t.here, t.all = t.here+bytes, t.all+bytes
	return true
}
