package definition

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Range is a half-open interval of server_version_num: Min <= version < Max. Zero is no bound, so
// the zero Range holds every version.
type Range struct {
	Min, Max int
}

// Contains is whether a server_version_num such as 160004 is in the range.
func (r Range) Contains(version int) bool {
	return version >= r.Min && (r.Max == 0 || version < r.Max)
}

// Overlaps is whether one version can be in both.
func (r Range) Overlaps(o Range) bool {
	return (r.Max == 0 || o.Min < r.Max) && (o.Max == 0 || r.Min < o.Max)
}

// String is the range as in a definition: ">=14 <17", and "" for every version.
func (r Range) String() string {
	var parts []string
	if r.Min > 0 {
		parts = append(parts, ">="+versionText(r.Min))
	}
	if r.Max > 0 {
		parts = append(parts, "<"+versionText(r.Max))
	}
	return strings.Join(parts, " ")
}

func versionText(v int) string {
	if v%10000 == 0 {
		return strconv.Itoa(v / 10000)
	}
	return fmt.Sprintf("%d.%d", v/10000, v%10000)
}

var boundPattern = regexp.MustCompile(`^(>=|<=|>|<|=)?([0-9]+)(?:\.([0-9]+))?$`)

// ParseRange reads a range such as ">=13", "<17", ">=14 <17", "16" or ">=16.4": bounds separated by
// blanks or commas, all of which must hold.
func ParseRange(s string) (Range, error) {
	var r Range
	s = strings.ReplaceAll(s, ",", " ")
	for _, op := range []string{">= ", "<= ", "> ", "< ", "= "} {
		s = strings.ReplaceAll(s, op, strings.TrimSpace(op))
	}
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return r, fmt.Errorf("no bound")
	}
	for _, f := range fields {
		m := boundPattern.FindStringSubmatch(f)
		if m == nil {
			return r, fmt.Errorf("%q is not a bound", f)
		}
		major, err := strconv.Atoi(m[2])
		if err != nil || major < 10 || major > 999 {
			return r, fmt.Errorf("%q is not a version of PostgreSQL", m[2])
		}
		first, next := major*10000, (major+1)*10000
		if m[3] != "" {
			minor, err := strconv.Atoi(m[3])
			if err != nil || minor > 9998 {
				return r, fmt.Errorf("%q is not a version of PostgreSQL", m[2]+"."+m[3])
			}
			first, next = first+minor, first+minor+1
		}
		lo, hi := 0, 0
		switch m[1] {
		case ">=":
			lo = first
		case ">":
			lo = next
		case "<":
			hi = first
		case "<=":
			hi = next
		default:
			lo, hi = first, next
		}
		r.Min = max(r.Min, lo)
		if hi > 0 && (r.Max == 0 || hi < r.Max) {
			r.Max = hi
		}
	}
	if r.Max > 0 && r.Min >= r.Max {
		return r, fmt.Errorf("no version is in it")
	}
	return r, nil
}
