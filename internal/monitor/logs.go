package monitor

import (
	"bufio"
	"context"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
)

const (
	keptLines = 5000
	// maxLine is what is kept of one line, in bytes.
	maxLine = 4096
)

// logView is the log's lines and where the person is in them.
type logView struct {
	lines []string
	err   error
	read  bool
	// up is how many lines the last one shown is from the end; 0 follows.
	up     int
	typing bool
	query  string
	height int // of the last drawing
}

func newLogView() logView { return logView{height: 20} }

func (l *logView) seen() bool { return l.read }

func (l *logView) add(lines []string) {
	l.err, l.read = nil, true
	l.lines = append(l.lines, lines...)
	if l.up > 0 {
		l.up += len(lines) // what is looked at stays
	}
	if over := len(l.lines) - keptLines; over > 0 {
		l.lines = append([]string(nil), l.lines[over:]...)
	}
	l.clamp()
}

func (l *logView) ended(err error) { l.err = err }

func (l *logView) clamp() { l.up = max(0, min(l.up, len(l.lines)-1)) }

func (l *logView) key(key string) {
	switch key {
	case "up", "k":
		l.up++
	case "down", "j":
		l.up--
	case "pgup":
		l.up += l.height - 1
	case "pgdown", "space":
		l.up -= l.height - 1
	case "home", "g":
		l.up = len(l.lines) - 1
	case "end", "f":
		l.up = 0
	case "/":
		l.typing, l.query = true, ""
	case "n":
		l.find(-1)
	case "N":
		l.find(1)
	}
	l.clamp()
}

// search takes what is typed after the slash. The newest match is shown while typing.
func (l *logView) search(msg tea.KeyPressMsg) {
	switch msg.String() {
	case "enter":
		l.typing = false
	case "esc":
		l.forget()
	case "backspace":
		if _, size := utf8.DecodeLastRuneInString(l.query); size > 0 {
			l.query = l.query[:len(l.query)-size]
		}
	default:
		l.query += msg.Text
	}
	if l.query != "" {
		l.up = 0
		if !l.matches(len(l.lines) - 1) {
			l.find(-1)
		}
		l.clamp()
	}
}

func (l *logView) forget() { l.typing, l.query = false, "" }

// find goes to the next match towards the beginning (-1) or the end (1). The line that is looked at is the last shown.
func (l *logView) find(direction int) {
	if l.query == "" {
		return
	}
	for i := len(l.lines) - 1 - l.up + direction; i >= 0 && i < len(l.lines); i += direction {
		if l.matches(i) {
			l.up = len(l.lines) - 1 - i
			return
		}
	}
}

func (l *logView) matches(i int) bool {
	return l.query != "" && i >= 0 && i < len(l.lines) && strings.Contains(strings.ToLower(l.lines[i]), strings.ToLower(l.query))
}

func (l *logView) count() int {
	n := 0
	for i := range l.lines {
		if l.matches(i) {
			n++
		}
	}
	return n
}

// last is the end of the log, of at most n lines.
func (l *logView) last(n int) []string { return l.lines[max(0, len(l.lines)-n):] }

// window is the rows that a screen of so many shows, and the index of the last line in them: those that end with the
// line that is looked at, and at the log's beginning what follows it.
func (l *logView) window(height int, rows func(i int) []string) ([]string, int) {
	l.height = height
	l.clamp()
	last := len(l.lines) - 1 - l.up
	var shown []string
	for i := last; i >= 0 && len(shown) < height; i-- {
		shown = append(slices.Clone(rows(i)), shown...)
	}
	if len(shown) > height {
		shown = shown[len(shown)-height:]
	}
	for len(shown) < height && last+1 < len(l.lines) {
		last++
		shown = append(shown, rows(last)...)
	}
	return shown[:min(len(shown), height)], last
}

// scan sends the log's lines without what could make the terminal do something. A line that is too long is cut.
func scan(ctx context.Context, r io.Reader, to chan<- string) error {
	stop := context.AfterFunc(ctx, func() {
		if c, ok := r.(io.Closer); ok {
			_ = c.Close()
		}
	})
	defer stop()
	lines := bufio.NewReaderSize(r, maxLine)
	for {
		line, more, err := lines.ReadLine()
		if len(line) > 0 || err == nil {
			select {
			case to <- harmless(string(line)):
			case <-ctx.Done():
				return nil
			}
		}
		for more && err == nil {
			_, more, err = lines.ReadLine()
		}
		if err != nil {
			return err
		}
	}
}
