package containers

import (
	"context"
	"net"

	"github.com/Microsoft/go-winio"
)

const defaultEngineHost = "npipe:////./pipe/docker_engine"

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	if network == "npipe" {
		return winio.DialPipeContext(ctx, address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}
