package pgtest

import (
	"context"
	"testing"
)

func TestStandbyFollowsAndCanBePromoted(t *testing.T) {
	EachVersion(t, Options{}, func(t *testing.T, c *Cluster) {
		ctx := context.Background()
		s, err := c.Standby(ctx)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		if err := s.Promote(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.Exec(ctx, "CREATE TABLE t (id int)"); err != nil {
			t.Fatal(err)
		}
		if err := c.KillBackend(ctx); err != nil {
			t.Fatal(err)
		}
	})
}
