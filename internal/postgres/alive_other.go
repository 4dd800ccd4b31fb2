//go:build !unix

package postgres

import "net"

// silent says that nothing has come in on a connection; here one has to read to know.
func silent(net.Conn) bool { return false }
