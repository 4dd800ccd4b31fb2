package pgtest

import (
	"context"
	"testing"
)

// Clusters are copies of one, and yet strangers to each other: a standby, a repository and the prober tell them apart by the identifier,
// and a standby of one must not take the WAL of the other.
func TestEachClusterHasASystemIdentifierOfItsOwn(t *testing.T) {
	EachVersion(t, Options{}, func(t *testing.T, c *Cluster) {
		ctx, seen := context.Background(), map[string]bool{}
		for _, one := range []*Cluster{c, New(t, Options{Install: c.Install})} {
			if err := one.Restart(ctx); err != nil {
				t.Fatal(err)
			}
			id, err := one.Query(ctx, "postgres", "SELECT system_identifier FROM pg_control_system()")
			if err != nil {
				t.Fatal(err)
			}
			seen[id] = true
		}
		if len(seen) != 2 {
			t.Errorf("two clusters have the identifiers %v, want two", seen)
		}
	})
}

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
