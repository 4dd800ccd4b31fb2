package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// Knock is what became of asking whether anybody is there.
type Knock string

const (
	// Answered: the server said something, whatever it was.
	Answered Knock = "answered"
	// Silent: the connection was made, by the server's kernel, and nobody answered in time.
	Silent Knock = "silent"
	// Unreachable: no connection was made in time, so that nothing is known of the server: it may be the network.
	Unreachable Knock = "unreachable"
	// TurnedAway: the connection was refused, or cut without a word.
	TurnedAway Knock = "turned_away"
)

// sslRequest is the one message that a server answers before it knows who asks, whether it is full, and whether it is up: its
// postmaster has to start a process for it, and that writes one byte.
const sslRequest = 80877103

// Knock asks the server with the least that can be asked, without a login, and waits for one byte until ctx ends. It takes no
// connection slot. Where the connection string has several servers, the first one is asked. connected is called once a connection is made.
func (c *Connector) Knock(ctx context.Context, connected func()) Knock {
	cfg := c.config.Load().Copy()
	network, address := pgconn.NetworkAddress(cfg.Host, cfg.Port)
	conn, err := cfg.DialFunc(ctx, network, address)
	if err != nil {
		var timeout net.Error
		if ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout() || ReasonOf(err) != Refused {
			return Unreachable
		}
		return TurnedAway
	}
	defer conn.Close()
	connected()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var said [1]byte
	request := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 8), sslRequest)
	if _, err = conn.Write(request); err == nil {
		_, err = conn.Read(said[:])
	}
	switch {
	case err == nil:
		return Answered
	case ctx.Err() != nil:
		return Silent
	}
	return TurnedAway
}
