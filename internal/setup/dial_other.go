//go:build !linux

package setup

import (
	"context"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// dialAs connects as this process's user: on this system one thread can't be another user. Where the server lets that one in by
// its socket, this is enough.
func dialAs(int) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
}
