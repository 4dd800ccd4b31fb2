package postgres

import (
	"net"

	"golang.org/x/sys/unix"
)

// unacked says that the other side's system has not confirmed what was sent on a connection: the network, and not the program at its
// other end, is what does not answer.
func unacked(conn net.Conn) bool {
	raw, ok := system(conn)
	if !ok {
		return false
	}
	some := false
	err := raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		some = err == nil && info.Unacked > 0
	})
	return err == nil && some
}
