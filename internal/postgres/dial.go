package postgres

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

type redialKey struct{}

// redialFor is how long a network connection that is asked for again is waited for; the first is until the attempt's end.
const redialFor = time.Second

// WithRedial makes Connect ask for its network connection again each time that this has passed, beside those it has asked for: the
// system waits 1, 1, 1, 1, 2, 4, 8 s between its own tries, and would notice that much too late that the network is whole again.
func WithRedial(ctx context.Context, every time.Duration) context.Context {
	return context.WithValue(ctx, redialKey{}, every)
}

// dialling is the result of one try.
type dialling struct {
	conn  net.Conn
	err   error
	first bool
}

// impatient keeps what WithRedial promises. The first try that ends otherwise than by our own limit is what counts.
func impatient(dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		every, ok := ctx.Value(redialKey{}).(time.Duration)
		if !ok || strings.HasPrefix(network, "unix") {
			return dial(ctx, network, addr)
		}
		ctx, cancel := context.WithCancel(ctx)
		results, over := make(chan dialling), make(chan struct{})
		defer cancel()
		defer close(over)
		try := func(ctx context.Context, end context.CancelFunc, first bool) {
			defer end()
			conn, err := dial(ctx, network, addr)
			select {
			case results <- dialling{conn, err, first}:
			case <-over:
				if conn != nil {
					_ = conn.Close()
				}
			}
		}
		go try(ctx, func() {}, true)
		again := time.NewTicker(every)
		defer again.Stop()
		for {
			select {
			case <-again.C:
				short, end := context.WithTimeout(ctx, redialFor)
				go try(short, end, false)
			case r := <-results:
				if r.err == nil || r.first || reasonOfNetwork(r.err) != Timeout {
					return r.conn, r.err
				}
			}
		}
	}
}
