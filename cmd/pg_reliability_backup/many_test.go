package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog/catalogtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestCommandsOfManyBackups holds the commands that look at a whole repository to half a second for 5,000 backups, which is how many
// there are with PG_RELIABILITY_LONG=1, and to its share for fewer. It is processor time, which a loaded machine stretches least.
func TestCommandsOfManyBackups(t *testing.T) {
	n := 300
	if long() {
		n = 5000
	}
	dir := filepath.Join(t.TempDir(), "repo")
	r, err := catalog.Init(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ids := catalogtest.Many(t, r, n)
	time.Sleep(2 * time.Second) // what was written just now is not remembered
	b := &bench{t: t, repo: dir, env: []string{"DATA_SOURCE_NAME="}}
	const start = 100 * time.Millisecond
	indexed := start + time.Duration(n)*80*time.Microsecond
	for _, c := range []struct {
		says  string
		limit time.Duration
		args  []string
	}{
		{ids[n-1], start + time.Duration(n)*time.Millisecond, []string{"list"}}, // makes the index
		{ids[n-1], indexed, []string{"list"}},
		{ids[n-1], indexed, []string{"show"}},
		{ids[0], start, []string{"show", ids[0]}},
		{"ok", indexed, []string{"healthcheck", "--max-age=100000h"}},
		{"delete", indexed, []string{"prune", "--dry-run", fmt.Sprintf("--keep=%d", n-3)}},
		{"delete", indexed, []string{"prune", fmt.Sprintf("--keep=%d", n-3)}},
	} {
		var out bytes.Buffer
		cmd := b.cmd(c.args...)
		cmd.Stdout, cmd.Stderr = &out, &out
		began := time.Now()
		err := cmd.Run()
		took := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		t.Logf("%-40s %v, %v of processor time, at most %v", strings.Join(c.args, " "), time.Since(began).Round(time.Millisecond),
			took.Round(time.Millisecond), c.limit)
		if err != nil || !strings.Contains(out.String(), c.says) {
			t.Errorf("%v: %v, and no %q in %.2000s", c.args, err, c.says, out.String())
		}
		if limit := time.Duration(float64(c.limit) * pgtest.RaceFactor); took > limit {
			t.Errorf("%v took %v of processor time, at most %v", c.args, took, limit)
		}
	}
	if left := b.list(); len(left) != n-3 {
		t.Errorf("%d backups are left", len(left))
	}
}
