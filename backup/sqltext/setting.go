package sqltext

import (
	"fmt"
	"strings"
)

// Set is the end of ALTER ROLE or ALTER DATABASE that gives a setting its value: `SET "search_path" TO 'a', 'b'`.
// Value is as pg_db_role_setting has it. A list that is none by PostgreSQL's own rules is an error: the server that
// had it could make nothing of it either.
func Set(name, value string) (string, error) {
	if name == "" {
		return "", fmt.Errorf("a setting has no name")
	}
	to := Literal(value)
	if kind, ok := lists[strings.ToLower(name)]; ok {
		elements, err := SplitList(value, kind == names)
		if err != nil {
			return "", fmt.Errorf("setting %q: %w", name, err)
		}
		if len(elements) == 0 {
			elements = []string{""} // search_path = '': the list with one name that nothing has
			if kind == libraries {
				return "", fmt.Errorf("setting %q: an empty list of libraries can't be written by ALTER", name)
			}
		}
		for i := range elements {
			elements[i] = Literal(elements[i])
		}
		to = strings.Join(elements, ", ")
	}
	return "SET " + Setting(name) + " TO " + to, nil
}

// Setting quotes a setting's name. Each part of one with dots is quoted on its own, since the whole may be longer
// than an identifier; a server before PostgreSQL 14 takes names whose parts can't be written so.
func Setting(name string) string {
	parts := strings.Split(name, ".")
	for _, p := range parts {
		if p == "" {
			return Ident(name)
		}
	}
	return Ident(parts...)
}

// The settings that are stored as a list of quoted elements, and written back element by element: as one quoted
// string they would become one name. (GUC_LIST_QUOTE in PostgreSQL's guc_tables.c; extensions can't add to them.)
var lists = map[string]listKind{
	"search_path": names, "temp_tablespaces": names,
	"session_preload_libraries": libraries, "local_preload_libraries": libraries,
	"shared_preload_libraries": libraries, "unix_socket_directories": libraries,
}

// IsList says whether a setting is one of them.
func IsList(name string) bool {
	_, ok := lists[strings.ToLower(name)]
	return ok
}

// JoinList writes a list so that SplitList reads it, whatever is in its elements.
func JoinList(elements []string) string {
	quoted := make([]string, len(elements))
	for i, e := range elements {
		quoted[i] = `"` + strings.ReplaceAll(e, `"`, `""`) + `"`
	}
	return strings.Join(quoted, ", ")
}

type listKind int

const (
	names     listKind = iota // as identifiers: what is not quoted is folded to lower case
	libraries                 // as paths: what is not quoted may hold spaces, and keeps its case
)

// SplitList reads the value of a setting that is a list, as SplitIdentifierString (fold) and SplitDirectoriesString
// in PostgreSQL's varlena.c do, but cuts no name short. No text at all is an empty list.
func SplitList(value string, fold bool) ([]string, error) {
	var all []string
	s := strings.TrimLeft(value, listSpace)
	if s == "" {
		return nil, nil
	}
	for {
		var element string
		if strings.HasPrefix(s, `"`) {
			var b strings.Builder
			for s = s[1:]; ; {
				i := strings.IndexByte(s, '"')
				if i < 0 {
					return nil, fmt.Errorf("a list has a quoted element without an end")
				}
				b.WriteString(s[:i])
				if s = s[i+1:]; !strings.HasPrefix(s, `"`) {
					break
				}
				b.WriteByte('"')
				s = s[1:]
			}
			element = b.String()
		} else {
			end := ","
			if fold {
				end += listSpace
			}
			i := strings.IndexAny(s, end)
			if i < 0 {
				i = len(s)
			}
			if element = strings.TrimRight(s[:i], listSpace); element == "" {
				return nil, fmt.Errorf("a list has an empty element")
			}
			if fold {
				element = strings.Map(lower, element)
			}
			s = s[i:]
		}
		all = append(all, element)
		s = strings.TrimLeft(s, listSpace)
		if s == "" {
			return all, nil
		}
		if s[0] != ',' {
			return nil, fmt.Errorf("a list has something other than a comma between two elements")
		}
		s = strings.TrimLeft(s[1:], listSpace)
	}
}

// listSpace is what PostgreSQL's scanner_isspace takes for space (since 16 with \v, which before can't be in a list unquoted).
const listSpace = " \t\n\r\f\v"

// lower folds as PostgreSQL does in UTF8: letters of ASCII alone.
func lower(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}
