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

// Connected says that there was a connection.
func (w *Wire) Connected() bool { return w.conn.Load() != nil }

// Unread says that something has come in that nobody has read: the other side has answered, and we are late. It is false
// where that can't be told.
func (w *Wire) Unread() bool {
	conn := w.conn.Load()
	return conn != nil && unread(*conn)
}

// Unacked says that the other side's system has not confirmed what was sent: the network loses it. It is false where that can't be
// told. What was sent a moment ago is not confirmed yet.
func (w *Wire) Unacked() bool {
	conn := w.conn.Load()
	return conn != nil && unacked(*conn)
}

// show lets a session's connection be seen by who asked for it in ctx.
func (s *Session) show(ctx context.Context) {
	if w, ok := ctx.Value(wireKey{}).(*Wire); ok {
		w.set(s.conn.Conn())
	}
}
