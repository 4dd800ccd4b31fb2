package pgtest

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
)

// FreePort is a TCP port of 127.0.0.1 for a server that has yet to listen. This process keeps it, so that a server that is
// restarted finds it free.
func FreePort() (int, error) {
	port, held, err := ClaimPort(0)
	if err != nil {
		return 0, err
	}
	go func() { _, _ = io.Copy(io.Discard, held) }() // a reference that lasts
	return port, nil
}

// ClaimPort takes the TCP port of 127.0.0.1 for a server that has yet to listen, or a free one where that is taken or 0.
// Until it is closed nobody else who claims gets the same: a port can be looked at but not held for another program, so the
// UDP port of the same number is held, which nobody else wants, and which ends with the process.
func ClaimPort(wanted int) (port int, held io.ReadCloser, err error) {
	// Below those that the kernel gives to whoever connects: there a port that a server is about to listen on, or has left
	// for a moment, becomes a client's.
	const low, high, tries = 10000, 32000, 20
	var failed error
	for n := range tries {
		if port = wanted; n > 0 || wanted == 0 {
			port = low + rand.IntN(high-low)
		}
		if held, err = claimPort(port); err == nil {
			return port, held, nil
		}
		failed = errors.Join(failed, err)
	}
	return 0, nil, fmt.Errorf("find a free port: %w", failed)
}

func claimPort(port int) (io.ReadCloser, error) {
	ip := net.IPv4(127, 0, 0, 1)
	tcp, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: ip, Port: port})
	if err != nil {
		return nil, err
	}
	defer tcp.Close()
	return net.ListenUDP("udp4", &net.UDPAddr{IP: ip, Port: port})
}
