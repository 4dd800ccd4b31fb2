package quiet

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// Conn is a network connection as it is, but that reads and writes do not wake the runtime's monitor. One that is not the system's is
// returned unchanged.
func Conn(c net.Conn) net.Conn {
	sys, ok := c.(syscall.Conn)
	if !ok {
		return c
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return c
	}
	q := &conn{Conn: c}
	q.in = transmission{name: "read", call: read, wait: raw.Read}
	q.out = transmission{name: "write", call: write, wait: raw.Write}
	q.in.step, q.out.step = q.in.some, q.out.some
	return q
}

type conn struct {
	net.Conn
	in, out transmission
}

// NetConn is the connection below, as tls.Conn has it.
func (c *conn) NetConn() net.Conn { return c.Conn }

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := c.in.move(c.Conn, b)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (done int, err error) {
	for done < len(b) && err == nil {
		var n int
		n, err = c.out.move(c.Conn, b[done:])
		done += n
	}
	return done, err
}

// transmission is one direction.
type transmission struct {
	name string
	call func(fd uintptr, b []byte) (int, syscall.Errno)
	wait func(func(uintptr) bool) error
	step func(uintptr) bool // some, made once

	mu    sync.Mutex // of what follows: one moves something at a time
	b     []byte
	n     int
	errno syscall.Errno
}

// move moves some of b, and waits until that is possible.
func (t *transmission) move(c net.Conn, b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b, t.n, t.errno = b, 0, 0
	err := t.wait(t.step)
	t.b = nil
	switch {
	case err != nil:
		var op *net.OpError
		if errors.As(err, &op) { // is "raw-read" by name
			err = op.Err
		}
	case t.errno != 0:
		err = os.NewSyscallError(t.name, t.errno)
	default:
		return t.n, nil
	}
	return 0, &net.OpError{Op: t.name, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

func (t *transmission) some(fd uintptr) bool {
	t.n, t.errno = t.call(fd, t.b)
	if t.errno != 0 {
		t.n = 0
	}
	return t.errno != syscall.EAGAIN
}
