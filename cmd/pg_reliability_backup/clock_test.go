package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/schedule"
)

// TestAClockSetBackLosesNoGoodBackup: backups were made while the clock was a year ahead, and more after it was set right. Their runs'
// order counts, not what the clock said: in the list, for what is latest, for what is pruned, and no id comes twice.
func TestAClockSetBackLosesNoGoodBackup(t *testing.T) {
	b := newBench(t)
	ahead := b.run()
	b.shift(ahead, 365*24*time.Hour)
	now := b.run()
	list := b.list()
	if len(list) != 2 || list[0].ID != now || list[1].ID != ahead || !list[1].Manifest.Finished.After(time.Now()) {
		t.Fatalf("the list is %v, want %s before %s, which is of the future", ids(list), now, ahead)
	}
	if out := b.must("show", "latest"); !strings.Contains(out, now) {
		t.Errorf("the latest is not %s:\n%s", now, out)
	}
	b.must("healthcheck")
	b.must("prune", "--keep=1", "--keep-daily=1", "--keep-monthly=1")
	if _, err := catalogGet(b, now); err != nil {
		t.Errorf("the newest backup was pruned: %v", err)
	}
	last := b.run("--keep=1")
	if list = b.list(); len(list) == 0 || list[0].ID != last || last == now || last == ahead {
		t.Errorf("the list is %v, want %s first", ids(list), last)
	}
	if list[0].Sequence != 3 {
		t.Errorf("the third run has number %d", list[0].Sequence)
	}
	b.must("verify", "latest", "--level=2")
}

// shift gives a backup the times that it would have from a clock that is ahead.
func (b *bench) shift(id string, by time.Duration) {
	b.t.Helper()
	b.rewrite(filepath.Join(b.repo, "backups", id), func(m map[string]any) {
		for _, key := range []string{"started", "finished", "recovery_point"} {
			at, err := time.Parse(time.RFC3339, m[key].(string))
			if err != nil {
				b.t.Fatal(err)
			}
			m[key] = at.Add(by)
		}
	})
}

func catalogGet(b *bench, id string) (catalog.Backup, error) {
	repo, err := catalog.Open(b.repo)
	if err != nil {
		return catalog.Backup{}, err
	}
	return repo.Get(id)
}

func ids(all []catalog.Backup) (ids []string) {
	for _, b := range all {
		ids = append(ids, b.ID)
	}
	return ids
}

// TestRehearsalsGoOnAfterTheClockWasSetBack: the next one would have to wait for a year.
func TestRehearsalsGoOnAfterTheClockWasSetBack(t *testing.T) {
	plan, err := schedule.Parse("0 3 * * *", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	d := &daemon{rehearsals: &plan, nextRehearsal: plan.Next(now.AddDate(1, 0, 0))}
	var due []string
	for range 3 * 24 * 60 {
		if now = now.Add(time.Minute); d.rehearsalIsDue(now) {
			due = append(due, now.Format("02 15:04"))
		}
	}
	if got := strings.Join(due, ", "); got != "24 03:00, 25 03:00, 26 03:00" {
		t.Errorf("rehearsals at %q", got)
	}
}
