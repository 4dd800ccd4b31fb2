//go:build !linux

package quiet

import "net"

// Conn is the connection as it is.
func Conn(c net.Conn) net.Conn { return c }
