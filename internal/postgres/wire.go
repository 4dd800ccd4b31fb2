package postgres

import (
	"context"
	"net"
	"sync/atomic"
)

// Wire lets somebody look at the network connection of an attempt that is under way, without disturbing it. It is safe for
// concurrent use; its zero value has no connection yet.
type Wire struct{ conn atomic.Pointer[net.Conn] }

type wireKey struct{}

// WithWire makes Connect show the connection it dials.
func WithWire(ctx context.Context, w *Wire) context.Context {
	return context.WithValue(ctx, wireKey{}, w)
}

func (w *Wire) set(conn net.Conn) { w.conn.Store(&conn) }

// Unread says that something has come in that nobody has read: the other side has answered, and we are late. It is false
// where that can't be told.
func (w *Wire) Unread() bool {
	conn := w.conn.Load()
	return conn != nil && unread(*conn)
}

// show lets a session's connection be seen by who asked for it in ctx.
func (s *Session) show(ctx context.Context) {
	if w, ok := ctx.Value(wireKey{}).(*Wire); ok {
		w.set(s.conn.PgConn().Conn())
	}
}

// Watch calls stirred once, from a goroutine of its own, when something comes in on the connection or it ends, and reads
// nothing: what came in is there for the next query. A query's answer is such a thing, too. Where the system can't tell
// (Windows) it does nothing. It works below TLS and on unix sockets; behind PgBouncer it is PgBouncer's connection
// that is watched.
func (s *Session) Watch(stirred func()) {
	conn, ok := system(s.conn.PgConn().Conn())
	if !ok {
		return
	}
	go func() {
		if watch(conn) {
			stirred()
		}
	}()
}
