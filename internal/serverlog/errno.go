package serverlog

import (
	"bytes"
	"slices"
)

// errnoEnds are the last letters of those texts.
var errnoEnds = []byte("edrmy")

// kindOfErrno tells what the C library's text at the end of a message says, in English: the SQLSTATE says it in any language.
func kindOfErrno(message []byte) Kind {
	if len(message) == 0 || !slices.Contains(errnoEnds, message[len(message)-1]) {
		return NoKind
	}
	end := message[max(0, len(message)-40):]
	for _, e := range [...]struct {
		text string
		kind Kind
	}{
		{": No space left on device", DiskFull}, {": Disk quota exceeded", DiskFull}, {": Input/output error", IOError},
		{": Read-only file system", IOError}, {": Cannot allocate memory", OutOfMemory},
	} {
		if bytes.HasSuffix(end, []byte(e.text)) {
			return e.kind
		}
	}
	return NoKind
}
