package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// plainEvery is the time between status lines where there is no terminal to rewrite one on.
const plainEvery = 10 * time.Second

// console writes lines, and below them on a terminal one that changes.
type console struct {
	mu       sync.Mutex
	out      *os.File
	terminal bool
	line     string    // the changing line, as it stands there
	at       time.Time // of the newest status line without a terminal

	once sync.Once
	// gone is closed when nobody can read any more: the terminal or the pipe was closed.
	gone chan struct{}
}

func newConsole(out *os.File) *console {
	fi, err := out.Stat()
	return &console{out: out, gone: make(chan struct{}), terminal: err == nil && fi.Mode()&os.ModeCharDevice != 0 &&
		os.Getenv("TERM") != "dumb"}
}

// print writes a line that stays.
func (c *console) print(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	c.write(fmt.Sprintf(format+"\n", args...))
	c.draw()
}

// event is a line with the time of day.
func (c *console) event(format string, args ...any) {
	c.print("%s  %s", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// status rewrites the changing line; without a terminal it writes a line now and then.
func (c *console) status(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.terminal {
		if time.Since(c.at) >= plainEvery {
			c.at = time.Now()
			c.write(fmt.Sprintf("%s  %s\n", c.at.Format(time.TimeOnly), line))
		}
		return
	}
	c.erase()
	c.line = c.fit(line)
	c.draw()
}

func (c *console) erase() {
	if c.terminal && c.line != "" {
		c.write("\r\x1b[2K")
	}
}

func (c *console) draw() {
	if c.terminal {
		c.write(c.line)
	}
}

func (c *console) write(text string) {
	if _, err := c.out.WriteString(text); err != nil {
		c.once.Do(func() { close(c.gone) })
	}
}

// paint makes good news green and bad news red on a terminal.
func (c *console) paint(text string, good bool) string {
	switch {
	case !c.terminal:
		return text
	case good:
		return "\x1b[32m" + text + "\x1b[0m"
	}
	return "\x1b[31m" + text + "\x1b[0m"
}

// fit cuts a line to the terminal's width: one that wraps can't be erased.
func (c *console) fit(line string) string {
	width := 80
	if size, err := unix.IoctlGetWinsize(int(c.out.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		width = int(size.Col)
	}
	return line[:min(len(line), width-1)]
}

// end replaces the changing line by the last one.
func (c *console) end(line string) {
	c.mu.Lock()
	c.erase()
	c.line = ""
	c.mu.Unlock()
	c.print("%s", line)
}
