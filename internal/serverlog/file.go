package serverlog

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"time"
)

const (
	// headLength is how many bytes at the beginning of a file tell it from others: its first messages, with their times.
	headLength = 256
	// chunk is what is read at once, and turn what is read of one file before the others have theirs.
	chunk = 64 << 10
	turn  = 16 * chunk
	// maxBacklog is how far we may be behind; then reading goes on keepAfterSkip before the end.
	maxBacklog    = 64 << 20
	keepAfterSkip = 1 << 20
	// drained is how long a file that was renamed is read on: its writer may not have noticed yet.
	drained = 2 * time.Second
	// idleFlush is how long the further lines of a message are waited for.
	idleFlush = 500 * time.Millisecond
)

// file is one that is followed, by its descriptor: a rename does not change what is read.
type file struct {
	path   string
	f      *os.File
	offset int64
	size   int64 // as it was seen last
	head   uint64
	known  int // bytes of it that head is of

	lines  lines
	format format // nil before the first line
	reader reader

	last     time.Time // something was read
	replaced time.Time // when its name was first seen to be another's; zero while it is its own
}

// openFile opens a regular file, and nothing that could block.
func openFile(path string) (*os.File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	return os.Open(path)
}

// headOf is what a file begins with.
func headOf(f *os.File, length int) (sum uint64, got int, err error) {
	var buffer [headLength]byte
	got, err = f.ReadAt(buffer[:min(length, headLength)], 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	h := fnv.New64a()
	_, _ = h.Write(buffer[:got])
	return h.Sum64(), got, err
}

// is says whether an open file is the one that a position is of.
func (p position) is(f *os.File, size int64) bool {
	if size < p.Offset || size < int64(p.HeadLength) {
		return false
	}
	if p.HeadLength == 0 {
		return true // nothing is known of it
	}
	sum, got, err := headOf(f, p.HeadLength)
	return err == nil && got == p.HeadLength && sum == p.Head
}

// position is how far it was read: to the end of the last whole line.
func (fl *file) position() position {
	return position{Offset: fl.offset - int64(fl.lines.pending()), HeadLength: fl.known, Head: fl.head}
}

// read takes what was written meanwhile, as much as there is a turn for. more is whether there is more.
func (fl *file) read(buffer []byte, now time.Time) (more bool, err error) {
	st, err := fl.f.Stat()
	if err != nil {
		return false, err
	}
	size := st.Size()
	if size == fl.size && size == fl.offset {
		fl.rest(now)
		return false, nil
	}
	if size < fl.offset || !fl.position().is(fl.f, size) {
		// Cut to nothing by logrotate's copytruncate, and perhaps written to since.
		fl.flush()
		fl.lines.forget()
		fl.offset, fl.known, fl.format = 0, 0, nil
	}
	fl.size = size
	if fl.known < headLength && size > int64(fl.known) {
		if fl.head, fl.known, err = headOf(fl.f, headLength); err != nil {
			return false, err
		}
	}
	if behind := size - fl.offset; behind > maxBacklog {
		fl.reader.log.counts.skips.Add(1)
		fl.reader.log.counts.skippedBytes.Add(uint64(behind - keepAfterSkip))
		fl.offset = size - keepAfterSkip
		fl.flush()
		fl.lines.forget()
		fl.lines.skipping = true // to the end of a line
	}
	fl.reader.live = size-fl.offset <= chunk
	for done := 0; done < turn; {
		n, err := fl.f.ReadAt(buffer, fl.offset)
		if n > 0 {
			fl.take(buffer[:n])
			fl.offset += int64(n)
			fl.last = now
		}
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		done += n
	}
	return true, nil
}

func (fl *file) take(data []byte) {
	if fl.format == nil {
		first := data
		if fl.lines.skipping {
			first = nil
		}
		fl.format = newFormat(fl.reader.log.words, &fl.reader, &fl.reader.log.prefix, fl.path, first)
	}
	fl.reader.clock.zone = fl.reader.log.zone.Load()
	before := fl.lines.tooLong
	fl.lines.feed(data, fl.format)
	fl.reader.log.took(len(data))
	fl.reader.log.counts.tooLong.Add(fl.lines.tooLong - before)
}

// rest hands over what is open, when nothing has come for a while.
func (fl *file) rest(now time.Time) {
	if now.Sub(fl.last) >= idleFlush {
		fl.flush()
	}
}

func (fl *file) flush() {
	if fl.format != nil {
		fl.format.flush()
	}
}

func (fl *file) close() {
	fl.flush()
	_ = fl.f.Close()
}

// over is whether its name is another file's, or nobody's, and all of it was read.
func (fl *file) over(now time.Time) bool {
	own, err := fl.f.Stat()
	if err != nil {
		return true
	}
	if is, err := os.Stat(fl.path); err == nil && os.SameFile(own, is) {
		fl.replaced = time.Time{}
		return false
	}
	if fl.replaced.IsZero() {
		fl.replaced = now
	}
	return own.Size() <= fl.offset && now.Sub(fl.replaced) >= drained && now.Sub(fl.last) >= drained
}
