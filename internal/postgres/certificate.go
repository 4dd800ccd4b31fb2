package postgres

import (
	"crypto/tls"
	"net"
	"time"
)

// Certificate says how long the certificates last that the server showed; zero without TLS.
type Certificate struct {
	// NotAfter is the end of the server's own.
	NotAfter time.Time
	// ChainNotAfter is the end of whichever ends first of all that it showed.
	ChainNotAfter time.Time
}

// Certificate is the server's, as this session met it. Behind a pooler it is the pooler's.
func (s *Session) Certificate() Certificate { return s.certificate }

func certificateOf(conn net.Conn) Certificate {
	if m, ok := conn.(*meter); ok {
		conn = m.NetConn()
	}
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return Certificate{}
	}
	shown := secure.ConnectionState().PeerCertificates
	if len(shown) == 0 {
		return Certificate{}
	}
	c := Certificate{NotAfter: shown[0].NotAfter, ChainNotAfter: shown[0].NotAfter}
	for _, x := range shown[1:] {
		if x.NotAfter.Before(c.ChainNotAfter) {
			c.ChainNotAfter = x.NotAfter
		}
	}
	return c
}
