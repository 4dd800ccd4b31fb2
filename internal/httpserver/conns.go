package httpserver

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// mostConnections may be open at once, and at most half of the files that the process may have: what serves clients must leave enough
	// for what the process is there for, such as to connect to the server that it watches.
	mostConnections = 4000
	fewConnections  = 32
	// unread of an answer may wait in the system's memory for a client that does not read; the system takes twice that.
	unread = 128 << 10
)

// connections bounds how many connections of clients are open. One more than that closes the one that has been idle the longest: a client
// that keeps a connection for its next request makes another one then. Where none is idle, it closes the one that has waited the longest
// for its first request, which may be itself.
type connections struct {
	most int

	mu   sync.Mutex
	open map[net.Conn]connection
}

type connection struct {
	state http.ConnState
	since time.Time
}

func newConnections() *connections {
	most := mostConnections
	if files := openFiles(); files > 0 {
		most = int(min(uint64(most), max(files/2, fewConnections)))
	}
	return &connections{most: most, open: map[net.Conn]connection{}}
}

// changed is http.Server's ConnState.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(c.open, conn)
		return
	}
	if state == http.StateNew {
		under := below(conn)
		if b, ok := under.(interface{ SetWriteBuffer(bytes int) error }); ok {
			_ = b.SetWriteBuffer(unread)
		}
		bound(under, writeTimeout)
	}
	c.open[conn] = connection{state: state, since: time.Now()}
	if len(c.open) <= c.most {
		return
	}
	victim := c.longest(http.StateIdle)
	if victim == nil {
		victim = c.longest(http.StateNew)
	}
	if victim == nil {
		return // each is answering a request, which Limit bounds
	}
	delete(c.open, victim)
	_ = below(victim).Close() // without TLS' farewell, which waits for the client to read it
}

// below is the connection that TLS is spoken on.
func below(conn net.Conn) net.Conn {
	if t, ok := conn.(*tls.Conn); ok {
		return t.NetConn()
	}
	return conn
}

// longest is the connection that has been in a state the longest, or nil.
func (c *connections) longest(state http.ConnState) (oldest net.Conn) {
	var since time.Time
	for conn, is := range c.open {
		if is.state == state && (oldest == nil || is.since.Before(since)) {
			oldest, since = conn, is.since
		}
	}
	return oldest
}
