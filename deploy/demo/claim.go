package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
)

// claim takes the TCP port on this machine for a program that has yet to listen, or a free one where that is taken.
// Until it is closed no other demo gets the same: a port can be looked at but not held for somebody else, and of two demos
// that begin at the same moment one would take the other's exporter for its own. So demos hold the UDP port of the same
// number, which nobody else wants, and which ends with the process that holds it.
func claim(ctx context.Context, port int) (address string, held io.Closer, err error) {
	const tries = 10
	var failed error
	for _, number := range append([]int{port}, make([]int, tries)...) {
		if address, held, err = claimOne(ctx, number); err == nil {
			return address, held, nil
		}
		failed = errors.Join(failed, err)
	}
	return "", nil, fmt.Errorf("find a free port: %w", failed)
}

// claimOne claims the port, or any for 0.
func claimOne(ctx context.Context, port int) (string, io.Closer, error) {
	listen := new(net.ListenConfig)
	tcp, err := listen.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return "", nil, err
	}
	defer tcp.Close()
	address := tcp.Addr().String()
	held, err := listen.ListenPacket(ctx, "udp", address)
	return address, held, err
}
