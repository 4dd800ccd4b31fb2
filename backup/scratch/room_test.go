package scratch_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/scratch"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

func programs(t *testing.T) clients.Programs {
	t.Helper()
	install, err := pgtest.Find(0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := clients.Finder{Dirs: []string{install.BinDir}}.Find(t.Context(), install.Major, "initdb", "postgres", "pg_restore")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// base is a directory that any user reaches.
func base(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "scratch-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAServerInARoomAnswersAndLeavesNothing(t *testing.T) {
	dir := base(t)
	room, err := scratch.New(t.Context(), scratch.Options{Base: dir, Programs: programs(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = room.Close() })
	if err := room.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := room.Start(t.Context(), map[string]string{"work_mem": "7MB"}); err != nil {
		t.Fatal(err)
	}
	conn, err := room.Target().Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	var addresses, memory string
	err = conn.QueryRow(t.Context(), `SELECT pg_catalog.current_setting('listen_addresses'), pg_catalog.current_setting('work_mem')`).
		Scan(&addresses, &memory)
	if err != nil || addresses != "" || memory != "7MB" {
		t.Errorf("listens on %q with work_mem %q, %v: want a socket alone, and 7MB", addresses, memory, err)
	}
	_ = conn.Close(t.Context())
	if err := room.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 || room.Running() {
		t.Errorf("left behind: %q, the server runs: %v", left, room.Running())
	}
}

// Debian has the data of an installation apart from its programs, wherever both were unpacked.
func TestAnInstallationOfDebiansLayoutElsewhere(t *testing.T) {
	installed := filepath.Dir(programs(t).Dir)
	above, version := filepath.Split(installed)
	prefix, ok := strings.CutSuffix(above, "lib/postgresql/")
	if !ok {
		t.Skipf("%s is not of that layout", installed)
	}
	dir := base(t)
	for _, part := range []string{"lib/postgresql", "share/postgresql"} {
		to := filepath.Join(dir, "pg", part)
		if err := os.MkdirAll(to, 0o755); err != nil {
			t.Fatal(err)
		}
		if text, err := exec.Command("cp", "-a", filepath.Join(prefix, part, version), to).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	moved := programs(t)
	moved.Dir = filepath.Join(dir, "pg", "lib", "postgresql", version, "bin")
	room, err := scratch.New(t.Context(), scratch.Options{Base: dir, Programs: moved})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = room.Close() })
	if err := room.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := room.Start(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestSweepTakesWhatIsAbandonedAndNothingElse(t *testing.T) {
	dir := base(t)
	room, err := scratch.New(t.Context(), scratch.Options{Base: dir, Programs: programs(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = room.Close() })
	hourAgo := time.Now().Add(-time.Hour)
	abandoned := filepath.Join(dir, "pg_reliability_scratch-abandoned")
	future := filepath.Join(dir, "pg_reliability_scratch-future") // of before the clock was set back
	others := filepath.Join(dir, "somebody-elses")
	for _, d := range []string{abandoned, others, future} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, "owner"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(d, "owner"), hourAgo, hourAgo); err != nil {
			t.Fatal(err)
		}
	}
	if tomorrow := time.Now().AddDate(0, 0, 1); os.Chtimes(filepath.Join(future, "owner"), tomorrow, tomorrow) != nil {
		t.Fatal("the time of a file can't be set")
	}
	if err := os.Chtimes(filepath.Join(room.Dir, "owner"), hourAgo, hourAgo); err != nil {
		t.Fatal(err)
	}
	// Where others may write to the directory, a pipe stands in the place of a server's file.
	if err := errors.Join(os.Mkdir(filepath.Join(abandoned, "data"), 0o700),
		unix.Mkfifo(filepath.Join(abandoned, "data", "postmaster.pid"), 0o600)); err != nil {
		t.Fatal(err)
	}
	scratch.Sweep(dir)
	for d, there := range map[string]bool{abandoned: false, future: false, others: true, room.Dir: true} {
		if _, err := os.Stat(d); (err == nil) != there {
			t.Errorf("%s is there: %v, want %v", d, err == nil, there)
		}
	}
}

func TestARoomThatCannotBeIsRefusedWithARemedy(t *testing.T) {
	dir := base(t)
	long := filepath.Join(dir, strings.Repeat("x", 90))
	if err := os.Mkdir(long, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		options scratch.Options
		reason  failure.Reason
		says    string
	}{
		"a path too long for a socket": {scratch.Options{Base: long}, failure.Config, "--scratch-dir"},
		"more than is free":            {scratch.Options{Base: dir, NeedBytes: 1 << 60}, failure.Space, "--scratch-dir"},
	} {
		_, err := scratch.New(t.Context(), c.options)
		if failure.Of(err) != c.reason || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, reason %s", name, err, failure.Of(err))
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "pg_reliability_scratch-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestAPlaceThatTheServersUserMayNotEnterIsNamed(t *testing.T) {
	if os.Geteuid() != 0 {
		return // who is the servers' user itself can't make the room at all
	}
	closed := filepath.Join(base(t), "closed")
	open := filepath.Join(closed, "open")
	if err := errors.Join(os.Mkdir(closed, 0o700), os.Mkdir(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	room, err := scratch.New(t.Context(), scratch.Options{Base: open, Programs: programs(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer room.Close()
	err = room.Init(t.Context())
	if failure.Of(err) != failure.Config || !strings.Contains(err.Error(), "may not enter "+closed) ||
		!strings.Contains(err.Error(), "HINT: ") {
		t.Errorf("%v", err)
	}
}
