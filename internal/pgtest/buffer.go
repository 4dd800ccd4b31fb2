package pgtest

import (
	"bytes"
	"sync"
)

// Buffer keeps what programs and loggers write, many at once, while a test reads it.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String is all that was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Tail is the end of it, as long as a person reads.
func (b *Buffer) Tail() string {
	s := b.String()
	return s[max(0, len(s)-2000):]
}
