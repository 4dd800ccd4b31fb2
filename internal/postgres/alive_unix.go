//go:build unix

package postgres

import (
	"net"
	"syscall"
)

// system is the connection as the operating system has it, below TLS and what else is wrapped around it.
func system(conn net.Conn) (syscall.RawConn, bool) {
	for {
		outer, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = outer.NetConn()
	}
	sys, ok := conn.(syscall.Conn)
	if !ok {
		return nil, false
	}
	raw, err := sys.SyscallConn()
	return raw, err == nil
}

// peek looks at what has come in on a connection since it was last read, without reading it. It costs one system call,
// where reading with a deadline costs a millisecond.
func peek(fd uintptr) (n int, err error) {
	var b [1]byte
	n, _, err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return n, err
}

// unread says that bytes have come in on a connection.
func unread(conn net.Conn) bool {
	raw, ok := system(conn)
	if !ok {
		return false
	}
	some := false
	err := raw.Control(func(fd uintptr) {
		n, err := peek(fd)
		some = err == nil && n > 0
	})
	return err == nil && some
}
