package definition

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// Hidden are names that queries leave out, as patterns with * and ?.
type Hidden struct{ Schemas, Users, Databases []string }

// Hide gives the collectors what their queries leave out: those that look at schemas, and those that look at statements. They are
// complete with that: what is made of them from now on is kept for all servers, and only Top may still be changed.
func Hide(defs []Definition, h Hidden) {
	conditions := h.conditions()
	for i := range defs {
		defs[i].conditions = conditions
	}
	share(defs)
}

// conditions are what placeholders in queries stand for, each behind its placeholder: that a name is none that the user hides.
func (h Hidden) conditions() []string {
	return []string{
		"@schemas@", notLike("n.nspname", h.Schemas),
		"@users@", notLike("r.rolname", h.Users),
		"@databases@", notLike("d.datname", h.Databases),
	}
}

func notLike(column string, patterns []string) string {
	if len(patterns) == 0 {
		return "true"
	}
	var literals []string
	for _, p := range patterns {
		literals = append(literals, literal(likeOf(p)))
	}
	return fmt.Sprintf("%s::text NOT LIKE ALL (ARRAY[%s])", column, strings.Join(literals, ", "))
}

// likeOf is a pattern with * and ? as LIKE has it.
func likeOf(pattern string) string {
	return strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`, "*", "%", "?", "_").Replace(pattern)
}

// literal is a text as SQL has it, whatever standard_conforming_strings says.
func literal(text string) string {
	return "pg_catalog.convert_from(pg_catalog.decode('" + hex.EncodeToString([]byte(text)) + "', 'hex'), 'UTF8')"
}
