package web

import (
	"fmt"
	"testing"
)

// Each target is in one shard, and it is the one that Prometheus' hashmod gives: these numbers are md5's, by another program.
func TestShards(t *testing.T) {
	for name, want := range map[string]shard{"shop-1": {9, 20}, "shop-2": {14, 20}, "db7": {7, 20}, "a b": {8, 20}} {
		for part := range uint64(20) {
			s, err := parseShard(fmt.Sprintf("%d/20", part))
			if err != nil {
				t.Fatal(err)
			}
			if got := s.has(name); got != (s == want) {
				t.Errorf("%s in shard %d: %t, it belongs into %d", name, part, got, want.part)
			}
		}
	}
	if all, err := parseShard(""); err != nil || !all.has("shop-1") {
		t.Errorf("no shard is all targets: %v", err)
	}
	for _, text := range []string{"20/20", "1", "1/0", "0/0", "-1/20", "a/b", "1/20/3", "0/10001", "1/99999999999999999999", "/", " 1/20"} {
		if _, err := parseShard(text); err == nil {
			t.Errorf("%q is taken for a shard", text)
		}
	}
}
