//go:build !unix

package postgres

import (
	"net"
	"syscall"
)

// system is the connection as the operating system has it; here it can't be looked at without reading.
func system(net.Conn) (syscall.RawConn, bool) { return nil, false }

// unread says that bytes have come in; here one has to read to know.
func unread(net.Conn) bool { return false }
