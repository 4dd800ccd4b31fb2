package page

import "strings"

// deepest is how far a session is moved to the right, at the most.
const deepest = 6

// indent shows that a session waits for the one above.
func indent(depth int) string {
	if depth <= 0 {
		return ""
	}
	return strings.Repeat("\u00a0\u00a0", min(depth, deepest)-1) + "↳ "
}
