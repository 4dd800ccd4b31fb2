package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// waitFor waits until a running job's draft holds more than so many bytes.
func (b *bench) waitForDraft(more int64) {
	b.t.Helper()
	pgtest.Eventually(b.t, 20*time.Second, func() error {
		var n int64
		files, _ := filepath.Glob(filepath.Join(b.repo, "tmp", "*", "databases", "*"))
		for _, f := range files {
			if fi, err := os.Stat(f); err == nil {
				n += fi.Size()
			}
		}
		if n <= more {
			return fmt.Errorf("the draft has %d bytes", n)
		}
		return nil
	})
}

func TestKilledAtRandomPointsNothingIsLostOrWrong(t *testing.T) {
	kills := 5
	if long() {
		kills = 20
	}
	b := newBench(t)
	b.fill(4)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	began := time.Now()
	first := b.run()
	whole := time.Since(began)
	var published, killed int
	for i := range kills {
		before, old := len(b.list()), drafts(b)
		cmd := b.cmd("run", "--keep", "100")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wait := time.Duration(random.Int64N(int64(whole)))
		time.Sleep(wait)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		m := b.gather()
		after := len(b.list())
		if after > before {
			published++
		} else if now := drafts(b); len(now) > 0 && !slices.Equal(now, old) {
			killed++
			// Seen at once by whoever reads the catalogue, before any next start.
			m.expect(t, "last_failure_info{reason=killed}", 1)
			m.absent(t, "running_since_timestamp_seconds")
		}
		if got := int(m["runs_total{reason=,result=success}"]); got != after {
			t.Errorf("kill %d after %s: %d successes are counted, %d backups are listed", i, wait, got, after)
		}
	}
	t.Logf("%d runs of %s were killed: %d before the publication, %d after it", kills, whole, killed, published)
	b.run("--keep", "100")
	if left := drafts(b); len(left) > 0 {
		t.Errorf("drafts are left: %v", left)
	}
	good := b.checkGood()
	if !slices.Contains(good, first) || len(good) != len(b.list()) || len(good) != published+2 {
		t.Errorf("good backups: %v of %d, want %d with %s", good, len(b.list()), published+2, first)
	}
	m := b.gather()
	m.expect(t, "runs_total{reason=,result=success}", float64(len(good)))
	if got := int(m["runs_total{reason=killed,result=failure}"]); got < killed {
		t.Errorf("%d killed runs are counted, %d were killed with a draft", got, killed)
	}
}

func drafts(b *bench) []string {
	d, _ := filepath.Glob(filepath.Join(b.repo, "tmp", "*"))
	return d
}

func TestDiskFullMidDump(t *testing.T) {
	b := newBench(t)
	first := b.run()
	reason := "space"
	if err := mountTmpfs(t, b, 12<<20); err != nil {
		// Without root no small disk: the kernel refuses files above a size instead, with another error.
		t.Logf("no tmpfs (%v): a file size limit instead", err)
		b.env = append(b.env, "TEST_FSIZE=2000000")
		reason = "dump"
	}
	b.fill(20)
	code := map[string]int{"space": exitSpace, "dump": exitDump}[reason]
	out := b.want(code, "run", "--no-space-check")
	if reason == "space" {
		b.want(exitSpace, "run") // and refused beforehand, without trying
	}
	m := b.gather()
	m.expect(t, "last_failure_info{reason="+reason+"}", 1)
	m.expect(t, "catalog_up", 1)
	if got := m["runs_total{reason="+reason+",result=failure}"]; got < 1 {
		t.Errorf("no failure of reason %s is counted\n%s", reason, out)
	}
	if left := drafts(b); len(left) > 0 {
		t.Errorf("drafts are left: %v", left)
	}
	if good := b.checkGood(); !slices.Equal(good, []string{first}) {
		t.Errorf("good backups: %v, want %s", good, first)
	}
	b.exec("shop", "DROP TABLE noise")
	b.env = nil
	b.run("--suspect-below", "0")
	b.gather().expect(t, "runs_total{reason=,result=success}", 2)
}

// TestDiskFullAtTheEndOfARun: what is written last are the digests, the manifest and the journal. Nothing half-written is believed, the
// error names the place and the remedy, and the next run recovers.
func TestDiskFullAtTheEndOfARun(t *testing.T) {
	b := newBench(t)
	first := b.run()
	if err := mountTmpfs(t, b, 8<<20); err != nil {
		t.Skipf("no tmpfs: %v", err)
	}
	b.run() // the reserve is there now
	free := func() int64 {
		n, err := catalog.FreeBytes(b.repo)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := free()
	b.run()
	takes := before - free() // of a whole run
	good := len(b.checkGood())
	filler := filepath.Join(filepath.Dir(b.repo), "filler")
	failed := 0
	for _, short := range []int64{4, 8, 12, 20, 32} { // KiB
		write(t, filler, make([]byte, free()-takes+short<<10))
		out, code := b.prog("run", "--no-space-check", "--keep=100")
		switch code {
		case exitOK:
			good++
		case exitSpace:
			failed++
			says(t, out, "repository "+b.repo, "space left on device", "HINT: Free space")
		default:
			t.Errorf("%d KiB short: exit code %d\n%s", short, code, out)
		}
		remove(t, filler)
		if left := drafts(b); len(left) > 0 {
			t.Errorf("%d KiB short: drafts are left: %v", short, left)
		}
		if got := b.checkGood(); len(got) != good || !slices.Contains(got, first) {
			t.Errorf("%d KiB short: good backups %v, want %d", short, got, good)
		}
	}
	if failed == 0 {
		t.Error("no run met the full disk")
	}
	b.run("--keep=100")
	if got := b.checkGood(); len(got) != good+1 {
		t.Errorf("after the disk has room again the good backups are %v", got)
	}
}

// mountTmpfs moves the repository onto a small file system of its own.
func mountTmpfs(t *testing.T, b *bench, size int) error {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		return err
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	to := filepath.Join(dir, "repo")
	if err := os.CopyFS(to, os.DirFS(b.repo)); err != nil {
		t.Fatal(err)
	}
	b.repo = to
	return nil
}

func TestServerStoppedMidDump(t *testing.T) {
	b := newBench(t)
	b.fill(15)
	first := b.run()
	cmd := b.cmd("run")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b.waitForDraft(200_000)
	b.pg.KillServer()
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != exitConnection {
		t.Errorf("exit code %d, want %d", cmd.ProcessState.ExitCode(), exitConnection)
	}
	b.gather().expect(t, "last_failure_info{reason=connection}", 1)
	if good := b.checkGood(); !slices.Equal(good, []string{first}) {
		t.Errorf("good backups: %v, want %s", good, first)
	}
	b.want(exitConnection, "run") // still down
	if err := b.pg.Launch(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.run()
	b.gather().expect(t, "runs_total{reason=connection,result=failure}", 2)
}

func TestDamagedBackupsAreSeenAndPassedOver(t *testing.T) {
	b := newBench(t)
	oldest := b.run("--verify")
	for name, damage := range map[string]struct {
		do     func(dir string)
		atOnce bool // seen without reading contents
	}{
		"byte flipped": {func(dir string) {
			path := filepath.Join(dir, "databases", "shop.dump")
			content := read(t, path)
			content[len(content)/2] ^= 0x40
			write(t, path, content)
		}, false},
		"byte flipped in the manifest": {func(dir string) {
			path := filepath.Join(dir, "manifest.json")
			write(t, path, bytes.Replace(read(t, path), []byte(`"rows": 2000`), []byte(`"rows": 2001`), 1))
		}, true},
		"truncated": {func(dir string) {
			path := filepath.Join(dir, "databases", "shop.dump")
			write(t, path, read(t, path)[:1000])
		}, true},
		"manifest deleted": {func(dir string) { remove(t, filepath.Join(dir, "manifest.json")) }, true},
		"sums deleted":     {func(dir string) { remove(t, filepath.Join(dir, "SHA256SUMS")) }, true},
		"dump deleted":     {func(dir string) { remove(t, filepath.Join(dir, "databases", "shop.dump")) }, true},
		"roles emptied":    {func(dir string) { write(t, filepath.Join(dir, "globals", "roles.sql"), nil) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			b.t = t
			before := b.gather()["count{state=damaged}"]
			good := b.run("--keep", "100")
			bad := b.run("--keep", "100")
			damage.do(filepath.Join(b.repo, "backups", bad))
			if got := b.gather()["count{state=damaged}"]; damage.atOnce && got != before+1 {
				t.Errorf("%v damaged backups are counted at once, want %v", got, before+1)
			}
			out := b.want(exitVerify, "verify", bad)
			b.gather().expect(t, "count{state=damaged}", before+1)
			b.want(exitVerify, "restore", bad, "--database", "shop")
			if got := strings.TrimSpace(lastLine(b.must("show", "latest"), "id")); !strings.HasSuffix(got, good) {
				t.Errorf("latest is %q, want %s\n%s", got, good, out)
			}
			if got := b.gather()["last_success_timestamp_seconds"]; got <= 0 {
				t.Errorf("last success = %v", got)
			}
		})
	}
	b.t = t
	// Pruning counts good ones only: with one to keep, the newest good one and the verified one stay.
	newest := b.run("--keep", "1", "--no-prune")
	b.must("prune", "--keep", "1")
	var left []string
	for _, x := range b.list() {
		left = append(left, x.ID)
	}
	if !slices.Equal(left, []string{newest, oldest}) {
		t.Errorf("left are %v, want %s and the verified %s", left, newest, oldest)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	c, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// lastLine finds the line that begins with a word.
func lastLine(text, word string) string {
	for _, l := range strings.Split(text, "\n") {
		if strings.HasPrefix(l, word) {
			return l
		}
	}
	return ""
}

func TestTwoJobsAtOnce(t *testing.T) {
	b := newBench(t)
	conn, err := b.pg.Connect(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	// The first job waits for this lock, with a part of its backup written.
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE item IN ACCESS EXCLUSIVE MODE", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	cmd := b.cmd("run")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b.waitForDraft(0)
	m := b.gather()
	if m["running_since_timestamp_seconds"] == 0 {
		t.Error("a run is in progress and not in the metrics")
	}
	b.want(exitLocked, "run")
	// Another repository, the same server: the advisory lock.
	other := *b
	other.repo = filepath.Join(t.TempDir(), "other")
	other.must("init")
	other.want(exitLocked, "run")
	if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the first job: %v", err)
	}
	m = b.gather()
	m.expect(t, "runs_total{reason=,result=success}", 1)
	m.expect(t, "runs_total{reason=locked,result=failure}", 1)
	m.absent(t, "running_since_timestamp_seconds")
	other.gather().expect(t, "runs_total{reason=locked,result=failure}", 1)
	b.run()
	b.checkGood()
}

func TestUnmountedDiskIsAnErrorNotAnEmptyRepository(t *testing.T) {
	b := newBench(t)
	first := b.run()
	away := b.repo + ".away"
	if err := os.Rename(b.repo, away); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(b.repo, 0o755); err != nil { // the bare mount point
		t.Fatal(err)
	}
	textfile := filepath.Join(t.TempDir(), "backup.prom")
	b.want(exitRepository, "run", "--textfile", textfile)
	b.want(exitRepository, "list")
	b.want(exitRepository, "healthcheck")
	b.super().want(exitRepository, "bootstrap")
	if left, _ := os.ReadDir(b.repo); len(left) > 0 {
		t.Errorf("something was written into the bare mount point: %v", left)
	}
	m := b.gather()
	m.expect(t, "catalog_up", 0)
	m.expect(t, "catalog_error_info{reason=missing}", 1)
	m.absent(t, "age_seconds")
	text := string(read(t, textfile))
	for _, want := range []string{"pg_reliability_backup_catalog_up 0", `pg_reliability_backup_last_failure_info{reason="repository"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("the textfile lacks %s:\n%s", want, text)
		}
	}
	if err := os.Remove(b.repo); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, b.repo); err != nil {
		t.Fatal(err)
	}
	b.run()
	if good := b.checkGood(); len(good) != 2 || good[1] != first {
		t.Errorf("good backups: %v, want two with %s", good, first)
	}
}

func TestDiskUnmountedMidRun(t *testing.T) {
	b := newBench(t)
	b.fill(10)
	if err := mountTmpfs(t, b, 200<<20); err != nil {
		t.Logf("no tmpfs (%v): the directory is moved instead", err)
	}
	cmd := b.cmd("run")
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b.waitForDraft(0)
	if err := syscall.Unmount(filepath.Dir(b.repo), syscall.MNT_DETACH); err != nil {
		if err := os.Rename(b.repo, b.repo+".away"); err != nil {
			t.Fatal(err)
		}
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitRepository {
		t.Errorf("exit code %d, want %d\n%s", code, exitRepository, out.String())
	}
	if _, err := os.Stat(b.repo); err == nil {
		t.Errorf("something was written into the bare mount point")
	}
	b.gather().expect(t, "catalog_up", 0)
}

func TestCollapsedBackupPausesPruning(t *testing.T) {
	b := newBench(t)
	b.run("--keep", "2")
	good := b.run("--keep", "2")
	b.exec("shop", "DELETE FROM item WHERE id > 100")
	for range 3 {
		b.run("--keep", "2")
	}
	all := b.list()
	if len(all) != 5 {
		t.Fatalf("%d backups are left, want 5: a suspect one pauses pruning", len(all))
	}
	for _, x := range all[:3] {
		if x.Health != catalog.IsSuspect {
			t.Errorf("%s is %s, want suspect", x.ID, x.Health)
		}
	}
	b.gather().expect(t, "count{state=suspect}", 3)
	if got := lastLine(b.must("show", "latest"), "id"); !strings.HasSuffix(strings.TrimSpace(got), good) {
		t.Errorf("latest is %q, want %s", got, good)
	}
	for _, x := range all[:3] {
		b.must("accept", x.ID)
	}
	b.must("prune", "--keep", "2")
	if all := b.list(); len(all) != 2 {
		t.Errorf("%d backups are left after accepting, want 2", len(all))
	}
}

func TestTerminatedRunEndsInOrder(t *testing.T) {
	b := newBench(t)
	b.fill(15)
	cmd := b.cmd("run")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b.waitForDraft(0)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupt {
		t.Errorf("exit code %d, want %d", code, exitInterrupt)
	}
	if left := drafts(b); len(left) > 0 {
		t.Errorf("drafts are left: %v", left)
	}
	b.gather().expect(t, "runs_total{reason=interrupted,result=failure}", 1)
	b.run()
}

func TestTerminatedDaemonEndsInOrder(t *testing.T) {
	b := newBench(t)
	b.fill(15)
	d := b.daemon("--cron=@every 24h")
	b.waitForDraft(0)
	d.stop()
	if left := drafts(b); len(left) > 0 {
		t.Errorf("drafts are left: %v", left)
	}
	b.gather().expect(t, "runs_total{reason=interrupted,result=failure}", 1)
}
