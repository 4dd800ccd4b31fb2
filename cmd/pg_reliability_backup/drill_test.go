package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// pgbench fills the database shop: scale 70 is about a gigabyte.
func (b *bench) pgbench(scale int) {
	b.t.Helper()
	cmd := pgtest.Command(b.pg.Install.Bin("pgbench"), "-i", "-q", "-s", fmt.Sprint(scale), b.pg.DSN(pgtest.Superuser, "shop"))
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("pgbench: %v\n%s", err, out)
	}
}

func scale() int {
	if long() {
		return 70
	}
	return 3
}

// destroy kills the server with its data directory, and starts a new, empty cluster in its place.
func (b *bench) destroy() {
	b.t.Helper()
	b.pg.KillServer()
	if err := os.RemoveAll(b.pg.DataDir()); err != nil {
		b.t.Fatal(err)
	}
	b.pg = pgtest.New(b.t, pgtest.Options{NoMonitorRole: true, Install: b.install})
}

// bootstrapJSON runs bootstrap and reads what it did.
func (b *bench) bootstrapJSON(args ...string) (restore.Outcome, string) {
	b.t.Helper()
	var logs pgtest.Buffer
	cmd := b.super().cmd(append([]string{"bootstrap", "--json"}, args...)...)
	cmd.Stderr = &logs
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("bootstrap: %v\n%s", err, logs.String())
	}
	var o restore.Outcome
	if err := json.Unmarshal(out, &o); err != nil {
		b.t.Fatalf("%v: %s", err, out)
	}
	return o, logs.String()
}

// compare counts every table of the manifest on the server.
func (b *bench) compare(m catalog.Manifest) {
	b.t.Helper()
	for _, db := range m.Databases {
		for _, table := range db.Contents.Tables {
			got, err := b.pg.Query(b.t.Context(), db.Name, fmt.Sprintf(`SELECT count(*) FROM %q.%q`, table.Schema, table.Name))
			if err != nil || got != fmt.Sprint(table.Rows) {
				b.t.Errorf("%s.%s.%s has %s rows (%v), the manifest says %d", db.Name, table.Schema, table.Name, got, err, table.Rows)
			}
		}
	}
}

func TestDisasterDrill(t *testing.T) {
	b := newBench(t)
	b.pgbench(scale())
	size, err := b.pg.Query(t.Context(), "shop", "pg_size_pretty(pg_database_size('shop'))")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	first := b.run("--verify")
	backupTook := time.Since(began)
	second := b.run("--verify")

	b.destroy()
	began = time.Now()
	o, _ := b.bootstrapJSON("--jobs", "2")
	took := time.Since(began)
	t.Logf("drill: database of %s, backup and verification %.1f s, bootstrap of an empty cluster %.1f s", size, backupTook.Seconds(),
		took.Seconds())
	if o.Result != restore.Restored || o.Backup != second || took > 5*time.Minute {
		t.Errorf("outcome = %+v in %s, want %s", o, took, second)
	}
	b.compare(b.list()[0].Manifest)

	b.destroy()
	dump := filepath.Join(b.repo, "backups", second, "databases", "shop.dump")
	content := read(t, dump)
	content[len(content)/3] ^= 1
	write(t, dump, content)
	began = time.Now()
	o, logs := b.bootstrapJSON("--jobs", "2")
	t.Logf("drill with the newest backup corrupted: %.1f s", time.Since(began).Seconds())
	if o.Backup != first || len(o.Rejected) != 1 || !strings.Contains(logs, "OLDER backup") {
		t.Errorf("outcome = %+v, want %s after rejecting %s\n%s", o, first, second, logs)
	}
	b.compare(b.list()[1].Manifest)
	m := b.gather()
	m.expect(t, "auto_restore_total{result=success}", 2)
	m.expect(t, "auto_restore_fell_back", 1)
	m.expect(t, "count{state=damaged}", 1)
	if again, _ := b.bootstrapJSON(); again.Result != restore.HadData {
		t.Errorf("a second bootstrap: %+v, want nothing done", again)
	}
}

func TestBootstrapKilledHalfwayIsRedoneAndNeverServed(t *testing.T) {
	b := newBench(t)
	b.fill(10)
	id := b.run()
	b.destroy()
	s := b.super()
	cmd := s.cmd("bootstrap")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 20*time.Second, func() error {
		n, err := b.pg.Query(t.Context(), "postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'pg_reliability_restore_%' "+
			"AND query LIKE 'COPY%'")
		if err == nil && n == "0" {
			err = fmt.Errorf("nothing is being loaded")
		}
		return err
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if n, err := b.pg.Query(t.Context(), "postgres", "SELECT count(*) FROM pg_database WHERE datname = 'shop'"); err != nil || n != "0" {
		t.Errorf("%s databases named shop after a half bootstrap (%v), want none", n, err)
	}
	o, _ := b.bootstrapJSON()
	if o.Backup != id {
		t.Errorf("outcome = %+v, want %s", o, id)
	}
	b.compare(b.list()[0].Manifest)
	if n, err := b.pg.Query(t.Context(), "postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE '%restore%' OR datname LIKE "+
		"'%before%'"); err != nil || n != "0" {
		t.Errorf("%s leftover databases (%v)", n, err)
	}
}

func TestBootstrapOfANewRepositoryRunsTheSchema(t *testing.T) {
	b := newBench(t)
	b.destroy()
	dir := t.TempDir()
	one, two := filepath.Join(dir, "1.sql"), filepath.Join(dir, "2.sql")
	write(t, one, []byte("CREATE TABLE a (i int);\n"))
	write(t, two, []byte("INSERT INTO a VALUES (1);\nSELECT no_such_function();\n"))
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := b.super()
	s.want(exitRestore, "bootstrap", "--schema", one, "--schema", two, "--database", "app")
	if n, err := b.pg.Query(t.Context(), "postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'app%'"); err != nil || n != "0" {
		t.Errorf("%s databases after a schema that failed (%v), want none", n, err)
	}
	write(t, two, []byte("INSERT INTO a VALUES (1);\n"))
	o, _ := b.bootstrapJSON("--schema", one, "--schema", two, "--database", "app")
	if o.Result != restore.Schema {
		t.Errorf("outcome = %+v, want the schema", o)
	}
	if n, err := b.pg.Query(t.Context(), "app", "SELECT count(*) FROM a"); err != nil || n != "1" {
		t.Errorf("%s rows, %v", n, err)
	}
	if o, _ := b.bootstrapJSON("--schema", one); o.Result != restore.HadData {
		t.Errorf("again: %+v, want nothing done", o)
	}
	// All backups gone, or all damaged: an error, not a fresh start.
	b.destroy()
	b.exec("postgres", `CREATE ROLE `+role+` LOGIN PASSWORD '`+pgtest.Password+`' IN ROLE pg_read_all_data, pg_monitor`)
	id := b.run()
	b.super().must("prune", "--keep", "1")
	remove(t, filepath.Join(b.repo, "backups", id, "manifest.json"))
	b.super().want(exitNothing, "bootstrap", "--schema", one, "--database", "app")
	if err := os.RemoveAll(filepath.Join(b.repo, "backups", id)); err != nil {
		t.Fatal(err)
	}
	b.super().want(exitRepository, "bootstrap", "--schema", one, "--database", "app")
}

// The disk took the data and damaged every backup; at night the job runs on the server that began anew, empty.
func TestTheBackupOfAnEmptiedServerIsNoNewBeginning(t *testing.T) {
	b := newBench(t)
	id := b.run("--verify")
	path := filepath.Join(b.repo, "backups", id, "databases", "shop.dump")
	content := read(t, path)
	content[len(content)/2] ^= 0x40
	write(t, path, content)
	b.destroy()
	b.super().want(exitNothing, "bootstrap")
	b.exec("postgres", `CREATE ROLE `+role+` LOGIN PASSWORD '`+pgtest.Password+`' IN ROLE pg_read_all_data, pg_monitor`)
	b.want(exitConfig, "run") // it is another server than the repository's
	b.must("init", "--take-over="+b.list()[0].Manifest.Server.SystemIdentifier)
	b.must("run")
	if got := b.list()[0]; got.Health != catalog.IsSuspect {
		t.Errorf("the backup of the empty server is %s, want suspect", got.Health)
	}
	b.super().want(exitNothing, "bootstrap")
}

// TestCostBesidePlainPgDump compares wall time and CPU, children included, of a run without
// verification with pg_dump -Fc of the same database.
func TestCostBesidePlainPgDump(t *testing.T) {
	b := newLoneBench(t)
	s, rounds := 4, 1
	if long() {
		s, rounds = 70, 3
	}
	b.pgbench(s)
	b.run() // warm the server's cache
	plain := filepath.Join(t.TempDir(), "plain.dump")
	names := []string{"pg_dump -Fc", "run", "run --compress 6"}
	var wall, cpu [3]time.Duration
	for range rounds {
		for i, cmd := range []*exec.Cmd{
			exec.Command(b.pg.Install.Bin("pg_dump"), "-Fc", "-f", plain, b.pg.DSN(pgtest.Superuser, "shop")),
			b.cmd("run", "--database", "shop", "--keep", "1"),
			b.cmd("run", "--database", "shop", "--keep", "1", "--compress", "6", "--suspect-below", "0"),
		} {
			before := b.serverCPU()
			began := time.Now()
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
			}
			took := time.Since(began)
			used := cmd.ProcessState.SysUsage().(*syscall.Rusage)
			// Rusage of a waited-for process includes the children it waited for: pg_dump.
			spent := time.Duration(used.Utime.Nano()+used.Stime.Nano()) + b.serverCPU() - before
			if wall[i] == 0 || took < wall[i] {
				wall[i] = took
			}
			if cpu[i] == 0 || spent < cpu[i] {
				cpu[i] = spent
			}
		}
	}
	for i, name := range names {
		t.Logf("scale %d, best of %d: %-16s %.2f s wall, %.2f s CPU, the server's included; ratios %.3f and %.3f", s, rounds, name,
			wall[i].Seconds(), cpu[i].Seconds(), wall[i].Seconds()/wall[0].Seconds(), cpu[i].Seconds()/cpu[0].Seconds())
	}
	w, c := wall[1].Seconds()/wall[0].Seconds(), cpu[1].Seconds()/cpu[0].Seconds()
	limit := 1.10
	if !long() {
		// Half a second's dump: the fixed cost of a run (roles, the database postgres, syncs) dominates, and
		// its time is the disk's, which others use, too.
		if extra := cpu[1] - cpu[0]; extra > time.Second {
			t.Errorf("a run costs %s of CPU more than pg_dump", extra)
		}
		return
	}
	if w > limit || c > limit {
		t.Errorf("ratios %.3f and %.3f, want at most %.2f", w, c, limit)
	}
}

// serverCPU is the CPU time of the postmaster and of all sessions so far, once they have ended.
func (b *bench) serverCPU() time.Duration {
	b.t.Helper()
	pgtest.Eventually(b.t, 20*time.Second, func() error { // postmaster, logger, and the other five that stay
		for _, pid := range b.pg.Processes() {
			title, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if strings.Contains(string(title), " shop ") {
				return fmt.Errorf("a session has not ended: %s", title)
			}
		}
		return nil
	})
	text := string(read(b.t, fmt.Sprintf("/proc/%d/stat", b.pg.PID())))
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	var ticks int64
	for _, v := range f[11:15] { // utime, stime, cutime, cstime
		var n int64
		fmt.Sscan(v, &n)
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100)
}
