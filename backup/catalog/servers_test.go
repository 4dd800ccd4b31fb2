package catalog_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// A server that was filled from the repository has the place of the old one once it makes backups itself: before that it may have been
// filled to look at something.
func TestTheServerThatWasReplacedIsRefused(t *testing.T) {
	repo, err := catalog.Init(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	publish := func(server string) catalog.Backup {
		t.Helper()
		if err := repo.Admit(server); err != nil {
			t.Fatalf("server %s: %v", server, err)
		}
		d, err := repo.Begin(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		d.Manifest.Engine, d.Manifest.Set, d.Manifest.Server.SystemIdentifier = "pg_dump", "all", server
		if err := os.WriteFile(filepath.Join(d.Dir, "data"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.Seal(); err != nil {
			t.Fatal(err)
		}
		b, err := d.Publish(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	refused := func(servers ...string) {
		t.Helper()
		for _, id := range servers {
			if err := repo.Admit(id); failure.Of(err) != failure.Config {
				t.Errorf("server %s: %v, want it refused", id, err)
			}
		}
	}
	first := publish("1")
	for _, id := range []string{"2", "3"} {
		if err := repo.Filled(t.Context(), id, first, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	publish("1")
	publish("2")
	refused("1")
	publish("2")
	publish("3") // filled after the second, from a backup of the first
	refused("1", "2")
	if err := repo.UpdateServers(t.Context(), func(s *catalog.Servers) { s.TakePlace("1") }); err != nil {
		t.Fatal(err)
	}
	publish("1")
	refused("2", "3")
}
