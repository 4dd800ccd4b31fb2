package postgres_test

import (
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// A session that was closed is not used again, even while the driver still says goodbye to the server in another goroutine.
func TestASessionIsBrokenAsSoonAsItIsClosed(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	for range 10 {
		s, err := connector(t, c.MonitorDSN()).Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if !s.Broken() {
			t.Fatal("it may be used again")
		}
		s.Close()
	}
}
