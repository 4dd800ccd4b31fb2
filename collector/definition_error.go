package collector

import "fmt"

// FileError is a mistake in a collectors' file: where, what is wrong, what would be right.
type FileError struct {
	File string
	Line int // 0 when it is about the whole file
	What string
	Hint string
}

func (e *FileError) Error() string {
	at := e.File
	if e.Line > 0 {
		at = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	return fmt.Sprintf("%s: %s. HINT: %s", at, e.What, e.Hint)
}
