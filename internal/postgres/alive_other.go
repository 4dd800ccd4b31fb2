//go:build !unix

package postgres

import (
	"net"
	"syscall"
)

// system is the connection as the operating system has it; here it can't be looked at without reading.
func system(net.Conn) (syscall.RawConn, bool) { return nil, false }

// silent says that nothing has come in on a connection; here one has to read to know.
func silent(net.Conn) bool { return false }

// unread says that bytes have come in; here one has to read to know.
func unread(net.Conn) bool { return false }

func watch(syscall.RawConn) bool { return false }
