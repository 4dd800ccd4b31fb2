package httpserver

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// A client that has not read what was written to it loses its connection, although nobody waits for it to read: all of it is in the
// system's memory, which is little.
func TestAConnectionWhoseClientReadsNothingIsClosed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_ = client.(*net.TCPConn).SetReadBuffer(4 << 10)
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetWriteBuffer(unread)
	bound(conn, 500*time.Millisecond)
	_ = conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := conn.Write(make([]byte, 16<<20)); err == nil || n > 1<<20 {
		t.Fatalf("%d bytes wait for a client that reads nothing, %v", n, err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(pgtest.Patience(20 * time.Second)))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, unix.ETIMEDOUT) {
		t.Errorf("the connection ends with %v", err)
	}
}
