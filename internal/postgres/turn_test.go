package postgres

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// late is a connection of a process that gets no CPU after it has written: the answer is there before the write's end.
type late struct {
	net.Conn
	by *atomic.Int64
}

func (l late) Write(b []byte) (int, error) {
	n, err := l.Conn.Write(b)
	time.Sleep(time.Duration(l.by.Load()))
	return n, err
}

// The driver reads in the background where a write takes it long, and took the answer to the sign of life that followed: a good server was
// called down by an exporter on a full machine.
func TestASignOfLifeAfterASlowWrite(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	connector, err := NewConnector(ConnectorOptions{DSN: c.MonitorDSN()})
	if err != nil {
		t.Fatal(err)
	}
	var by atomic.Int64
	cfg := connector.config.Load()
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return late{conn, &by}, err
	}
	s, err := connector.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 3 {
		by.Store(int64(200 * time.Millisecond))
		if _, err := s.Query(t.Context(), "SELECT 1"); err != nil {
			t.Fatal(err)
		}
		by.Store(0)
		if took := signOfLife(t, s); took > 5*time.Second {
			t.Fatalf("the sign of life took %s", took)
		}
	}
	if rows, err := s.Query(t.Context(), "SELECT 1"); err != nil || len(rows) != 1 {
		t.Fatalf("%v, %v", rows, err)
	}
}

// signOfLife asks for one, and gives up after ten seconds.
func signOfLife(t *testing.T, s *Session) (took time.Duration) {
	t.Helper()
	began := time.Now()
	over := time.AfterFunc(10*time.Second, s.GiveUp)
	defer over.Stop()
	err := s.Attend(Signs{
		Next:     func(now time.Time) time.Time { return now.Add(20 * time.Millisecond) },
		Patience: func() time.Duration { return time.Minute },
		Late:     func(time.Time) {},
		Came:     func(time.Duration, bool) { s.Wake() },
	})
	if err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}
