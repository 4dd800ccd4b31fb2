//go:build windows

// Program console lets a console program of Windows be used through pipes, as a terminal would: it runs it in a real
// console, sends on what it writes there, escape sequences and all, and types what comes in.
//
//	console new WIDTH HEIGHT PROGRAM [ARGUMENT ...]
//
// The console of Wine doesn't interpret escape sequences, as that of Windows does; whoever reads the pipe has to. So the
// console's buffer, with the processing of control characters switched off, is the record of all that was written.
// As there, they are text, with an arrow for the escape, before a program has switched their processing on.
// CSI 8 ; height ; width t resizes the window. The exit code is the program's.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf16"
	"unsafe"

	"golang.org/x/sys/windows"
)

const (
	// The record's size: some minutes of a screen that is drawn each second.
	columns, rows = 2000, 2000

	poll = 20 * time.Millisecond
)

var (
	kernel32        = windows.NewLazySystemDLL("kernel32.dll")
	readCharacters  = kernel32.NewProc("ReadConsoleOutputCharacterW")
	writeInput      = kernel32.NewProc("WriteConsoleInputW")
	setBufferSize   = kernel32.NewProc("SetConsoleScreenBufferSize")
	setWindow       = kernel32.NewProc("SetConsoleWindowInfo")
	resizeRequested = regexp.MustCompile(`\x1b\[8;(\d+);(\d+)t`)
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "console:", err)
		os.Exit(125)
	}
	os.Exit(code)
}

func run(args []string) (int, error) {
	if args[0] == "new" {
		return again(args[1:])
	}
	width, err := strconv.Atoi(args[0])
	if err != nil {
		return 0, err
	}
	height, err := strconv.Atoi(args[1])
	if err != nil {
		return 0, err
	}
	c, err := open(width, height)
	if err != nil {
		return 0, err
	}
	program := exec.Command(args[2], args[3:]...)
	program.Stdin, program.Stdout, program.Stderr = c.in, c.out, c.out
	if err := program.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- program.Wait() }()
	go c.typeAll()
	for {
		select {
		case err := <-ended:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return 0, err
			}
			return program.ProcessState.ExitCode(), c.sendOn()
		case <-time.After(poll):
			if err := c.sendOn(); err != nil {
				return 0, err
			}
		}
	}
}

// again runs this program in a console of its own, one without a window.
func again(args []string) (int, error) {
	self := exec.Command(os.Args[0], args...)
	self.Stdin, self.Stdout, self.Stderr = os.Stdin, os.Stdout, os.Stderr
	self.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NO_WINDOW}
	var exit *exec.ExitError
	if err := self.Run(); err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	return self.ProcessState.ExitCode(), nil
}

type console struct {
	in, out *os.File
	sent    uint32 // characters of the record
	escapes bool   // are processed
	bare    bool   // a line feed doesn't return
}

func open(width, height int) (*console, error) {
	c := &console{}
	var err error
	if c.in, err = os.OpenFile("CONIN$", os.O_RDWR, 0); err != nil {
		return nil, err
	}
	if c.out, err = os.OpenFile("CONOUT$", os.O_RDWR, 0); err != nil {
		return nil, err
	}
	if err := call(setBufferSize, c.out.Fd(), coord(columns, rows)); err != nil {
		return nil, err
	}
	if err := windows.SetConsoleMode(c.output(), windows.ENABLE_WRAP_AT_EOL_OUTPUT); err != nil {
		return nil, err
	}
	if err := windows.SetConsoleCursorPosition(c.output(), windows.Coord{}); err != nil {
		return nil, err
	}
	return c, c.resize(width, height)
}

func (c *console) output() windows.Handle { return windows.Handle(c.out.Fd()) }

func (c *console) resize(width, height int) error {
	window := windows.SmallRect{Right: int16(width - 1), Bottom: int16(height - 1)}
	return call(setWindow, c.out.Fd(), 1, uintptr(unsafe.Pointer(&window)))
}

// sendOn writes what is new in the record to the standard output.
func (c *console) sendOn() error {
	var info windows.ConsoleScreenBufferInfo
	if err := windows.GetConsoleScreenBufferInfo(c.output(), &info); err != nil {
		return err
	}
	var mode uint32
	if err := windows.GetConsoleMode(c.output(), &mode); err != nil {
		return err
	}
	c.escapes = c.escapes || mode&windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING != 0
	c.bare = c.bare || mode&windows.DISABLE_NEWLINE_AUTO_RETURN != 0
	until := uint32(info.CursorPosition.Y)*columns + uint32(info.CursorPosition.X)
	if info.CursorPosition.Y >= rows-1 {
		return errors.New("the record is full")
	}
	for c.sent < until {
		text := make([]uint16, min(until-c.sent, columns))
		var n uint32
		if err := call(readCharacters, c.out.Fd(), uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)),
			coord(int(c.sent%columns), int(c.sent/columns)), uintptr(unsafe.Pointer(&n))); err != nil {
			return err
		}
		said := string(utf16.Decode(text[:n]))
		if !c.escapes {
			said = strings.ReplaceAll(said, "\x1b", "←")
		}
		if !c.bare {
			said = strings.ReplaceAll(said, "\n", "\r\n")
		}
		if _, err := os.Stdout.WriteString(said); err != nil {
			return err
		}
		c.sent += n
	}
	return nil
}

// inputRecord is INPUT_RECORD with a KEY_EVENT_RECORD or a WINDOW_BUFFER_SIZE_RECORD.
type inputRecord struct {
	kind, _               uint16
	down                  int32 // or the new size
	repeat, key, scan, ch uint16
	control               uint32
}

const keyEvent, bufferSizeEvent = 1, 4

// typeAll types the standard input.
func (c *console) typeAll() {
	b := make([]byte, 4096)
	for {
		n, err := os.Stdin.Read(b)
		if err != nil {
			return
		}
		text := string(b[:n])
		for _, m := range resizeRequested.FindAllStringSubmatch(text, -1) {
			height, _ := strconv.Atoi(m[1])
			width, _ := strconv.Atoi(m[2])
			_ = c.resize(width, height)
			c.input(inputRecord{kind: bufferSizeEvent, down: int32(coord(width, height))})
		}
		for _, ch := range utf16.Encode([]rune(resizeRequested.ReplaceAllString(text, ""))) {
			c.input(inputRecord{kind: keyEvent, down: 1, repeat: 1, ch: ch})
			c.input(inputRecord{kind: keyEvent, repeat: 1, ch: ch})
		}
	}
}

func (c *console) input(r inputRecord) {
	var n uint32
	if err := call(writeInput, c.in.Fd(), uintptr(unsafe.Pointer(&r)), 1, uintptr(unsafe.Pointer(&n))); err != nil {
		fmt.Fprintln(os.Stderr, "console: type:", err)
	}
}

// coord is a COORD as it is passed by value.
func coord(x, y int) uintptr { return uintptr(uint32(uint16(x)) | uint32(uint16(y))<<16) }

func call(proc *windows.LazyProc, args ...uintptr) error {
	if ok, _, err := proc.Call(args...); ok == 0 {
		return fmt.Errorf("%s: %w", proc.Name, err)
	}
	return nil
}
