package definition

import "strings"

// statements counts the statements of a text: what stands between semicolons, apart from blanks and
// comments. It knows quotes, dollar quotes and comments, and nothing else of SQL: the rest is asked of
// a server.
func statements(sql string) int {
	n := 0
	content := false
	for i := 0; i < len(sql); {
		switch c := sql[i]; {
		case c == ';':
			if content {
				n++
			}
			content = false
			i++
		case strings.HasPrefix(sql[i:], "--"):
			i += until(sql[i:], "\n")
		case strings.HasPrefix(sql[i:], "/*"):
			i += blockComment(sql[i:])
		case c == '\'' && i > 0 && (sql[i-1] == 'e' || sql[i-1] == 'E'):
			content = true
			i += escapeString(sql[i:])
		case c == '\'' || c == '"':
			content = true
			i += 1 + until(sql[i+1:], string(c))
		case c == '$' && dollarTag(sql, i) != "":
			content = true
			tag := dollarTag(sql, i)
			i += len(tag) + until(sql[i+len(tag):], tag)
		default:
			content = content || !strings.ContainsRune(" \t\r\n\f", rune(c))
			i++
		}
	}
	if content {
		n++
	}
	return n
}

// until is the length of s up to the end of the next occurrence of the text, or all of it.
func until(s, end string) int {
	if i := strings.Index(s, end); i >= 0 {
		return i + len(end)
	}
	return len(s)
}

// blockComment is the length of the comment s begins with; they nest.
func blockComment(s string) int {
	depth := 0
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "/*"):
			depth, i = depth+1, i+2
		case strings.HasPrefix(s[i:], "*/"):
			depth, i = depth-1, i+2
			if depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return len(s)
}

// escapeString is the length of the quoted text s begins with, in which a backslash hides a quote.
func escapeString(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '\'':
			return i + 1
		}
	}
	return len(s)
}

// dollarTag is the opening of a dollar quote at i ("$$", "$body$"), or empty: $1 is none.
func dollarTag(sql string, i int) string {
	if i > 0 && isWord(sql[i-1]) {
		return ""
	}
	for j := i + 1; j < len(sql); j++ {
		switch {
		case sql[j] == '$':
			return sql[i : j+1]
		case !isWord(sql[j]) || j == i+1 && sql[j] >= '0' && sql[j] <= '9':
			return ""
		}
	}
	return ""
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
