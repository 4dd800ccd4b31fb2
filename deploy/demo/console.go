package main

import (
	"fmt"
	"os"
	"sync"
	"time"
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
}

func newConsole(out *os.File) *console {
	fi, err := out.Stat()
	return &console{out: out, terminal: err == nil && fi.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"}
}

// print writes a line that stays.
func (c *console) print(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	fmt.Fprintf(c.out, format+"\n", args...)
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
			fmt.Fprintf(c.out, "%s  %s\n", c.at.Format(time.TimeOnly), line)
		}
		return
	}
	c.erase()
	c.line = line
	c.draw()
}

func (c *console) erase() {
	if c.terminal && c.line != "" {
		fmt.Fprint(c.out, "\r\x1b[2K")
	}
}

func (c *console) draw() {
	if c.terminal {
		fmt.Fprint(c.out, c.line)
	}
}

// end replaces the changing line by the last one.
func (c *console) end(line string) {
	c.mu.Lock()
	c.erase()
	c.line = ""
	c.mu.Unlock()
	c.print("%s", line)
}
