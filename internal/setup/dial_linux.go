package setup

import (
	"context"
	"fmt"
	"net"
	"runtime"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"
)

// dialAs connects as another user of this machine: a server asks the kernel who is at the other end of its socket (peer
// authentication). One thread takes that user's identity, connects, and ends.
func dialAs(uid int) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		type result struct {
			conn net.Conn
			err  error
		}
		dialed := make(chan result, 1)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread must serve no other goroutine
			const keep = ^uintptr(0)
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(uid), keep); errno != 0 {
				dialed <- result{err: fmt.Errorf("become user %d: %w", uid, errno)}
				return
			}
			var d net.Dialer
			conn, err := d.DialContext(ctx, network, address)
			dialed <- result{conn, err}
		}()
		r := <-dialed
		return r.conn, r.err
	}
}
