//go:build !windows

package containers

import (
	"context"
	"net"
)

const defaultEngineHost = "unix:///var/run/docker.sock"

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, address)
}
