package serverlog

import "slices"

// classes are the first two characters of the SQLSTATEs that PostgreSQL has (appendix A of its manual). An extension or a
// function may raise any other: those are counted as other, so that nobody can make metrics.
var classes = [...]string{
	"00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22", "23", "24", "25", "26", "27", "28", "2B",
	"2D",
	"2F", "34", "38", "39", "3B", "3D", "3F", "40", "42", "44", "53", "54", "55", "57", "58", "72", "F0", "HV", "P0", "XX",
}

const (
	// classOther is of SQLSTATEs that PostgreSQL does not have, classUnknown of messages without one.
	classOther   = len(classes)
	classUnknown = len(classes) + 1
	classCount   = len(classes) + 2
)

// classIndex finds a class without a search: a row for each first character.
type classIndex [256][256]uint8

func newClassIndex() *classIndex {
	var index classIndex
	for i := range index {
		for j := range index[i] {
			index[i][j] = uint8(classOther)
		}
	}
	for i, class := range classes {
		index[class[0]][class[1]] = uint8(i)
	}
	return &index
}

func (c *classIndex) of(sqlState []byte) int {
	if len(sqlState) != sqlStateLength {
		return classUnknown
	}
	return int(c[sqlState[0]][sqlState[1]])
}

// sqlStateLength is what the SQL standard says.
const sqlStateLength = 5

func className(i int) string {
	switch {
	case i < len(classes):
		return classes[i]
	case i == classOther:
		return "other"
	}
	return "unknown"
}

// isSQLState is whether a text could be one.
func isSQLState(text []byte) bool {
	return len(text) == sqlStateLength && !slices.ContainsFunc(text, func(c byte) bool {
		return (c < '0' || c > '9') && (c < 'A' || c > 'Z')
	})
}
