package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// unreadableFile puts a file in the place of another whose reading is an input/output error, and returns the way back.
func unreadableFile(t *testing.T, path string) (mend func()) {
	t.Helper()
	if err := os.Rename(path, path+".kept"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/proc/self/mem", path); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Rename(path+".kept", path); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that fails for a moment costs no backup, least of all the only verified one.
func TestBackupThatCantBeReadIsNeverPruned(t *testing.T) {
	b := newBench(t)
	b.must("run", "--verify", "--no-prune")
	b.must("run", "--no-prune")
	verified := b.list()[1]
	for _, name := range []string{"status.json", "manifest.json", "SHA256SUMS"} {
		mend := unreadableFile(t, filepath.Join(b.repo, "backups", verified.ID, name))
		b.must("run", "--keep=1")
		if out := b.must("prune", "--keep=1", "--dry-run"); strings.Contains(out, "delete") || !strings.Contains(out, "unreadable") {
			t.Errorf("%s can't be read:\n%s", name, out)
		}
		b.gather().expect(t, "count{state=unreadable}", 1)
		if out, code := b.prog("verify", "--level=1", verified.ID); code == 0 {
			t.Errorf("%s can't be read, verify says:\n%s", name, out)
		}
		mend()
		if got := b.list(); got[len(got)-1].Health != catalog.Verified {
			t.Fatalf("after %s was mended: %s (%s)", name, got[len(got)-1].Health, got[len(got)-1].Problem)
		}
	}
	b.must("prune", "--keep=1")
	if got := b.list(); len(got) != 2 || got[1].ID != verified.ID {
		t.Errorf("%d backups are left, want the newest and the newest verified one", len(got))
	}
}

// Two servers don't share a repository by mistake. Who wants it says so, and then each has its own backups counted.
func TestSecondServerIsRefused(t *testing.T) {
	a := newBench(t)
	a.must("run")
	other := newLoneBench(t)
	other.repo = a.repo
	if out := other.want(exitConfig, "run", "--keep=1"); !strings.Contains(out, "--repository of its own") ||
		!strings.Contains(out, "init --add-server") {
		t.Errorf("no remedy in\n%s", out)
	}
	if got := a.list(); len(got) != 1 {
		t.Fatalf("%d backups", len(got))
	}
	a.must("run", "--keep=2") // the first server is as welcome as before
	if out := other.must("init", "--add-server"); !strings.Contains(out, "already") {
		t.Errorf("init of a repository that exists: %s", out)
	}
	other.must("run", "--keep=1")
	other.must("run", "--keep=1")
	if got := a.list(); len(got) != 3 {
		t.Errorf("%d backups, want two of the first server and one of the second", len(got))
	}
	// Each restores its own, though the other's is newer, and a new server must be told whose.
	ownest := map[*bench]string{a: a.list()[1].ID, other: a.list()[0].ID}
	for _, b := range []*bench{a, other} {
		if out := b.super().must("restore", "--database=postgres", "--as=again", "--dry-run"); !strings.Contains(out, " from "+ownest[b]+" ") {
			t.Errorf("want %s:\n%s", ownest[b], out)
		}
	}
	lone := *a
	lone.env = []string{"DATA_SOURCE_NAME=" + pgtest.New(t, pgtest.Options{NoMonitorRole: true}).DSN(pgtest.Superuser, "postgres")}
	for _, args := range [][]string{{"bootstrap"}, {"bootstrap", "--dry-run"}, {"restore", "--database=postgres", "--as=again"}} {
		if out := lone.want(exitConfig, args...); !strings.Contains(out, "--of-server") {
			t.Errorf("%v: no remedy in\n%s", args, out)
		}
	}
	lone.want(exitNothing, "bootstrap", "--of-server=7")
	id := a.list()[2].Manifest.Server.SystemIdentifier
	if out := lone.must("bootstrap", "--dry-run", "--of-server="+id); !strings.Contains(out, " from "+ownest[a]+":") {
		t.Errorf("want %s:\n%s", ownest[a], out)
	}
	// A server that took the other's place: one line, counted together.
	third := newLoneBench(t)
	third.repo = a.repo
	third.want(exitConfig, "init", "--take-over=7")
	of := a.list()[2].Manifest.Server.SystemIdentifier
	third.must("init", "--take-over="+of)
	third.must("run", "--keep=1", "--suspect-below=0")
	for _, b := range a.list() {
		if b.Manifest.Server.SystemIdentifier == of {
			t.Errorf("%s of the server that was replaced is left", b.ID)
		}
	}
	// The old machine comes back, and its timer with it.
	took := a.list()[0]
	if out := a.want(exitConfig, "run", "--keep=1"); !strings.Contains(out, "init --take-over="+took.Manifest.Server.SystemIdentifier) {
		t.Errorf("no remedy in\n%s", out)
	}
	if got := a.list()[0]; got.ID != took.ID {
		t.Fatalf("the newest backup is %s, want %s of the server that took the place", got.ID, took.ID)
	}
	third.must("run", "--keep=1", "--suspect-below=0")
	// Unless somebody says so.
	a.must("init", "--take-over="+took.Manifest.Server.SystemIdentifier)
	a.must("run", "--keep=1", "--suspect-below=0")
	third.want(exitConfig, "run", "--keep=1")
}

// A server that was let in is waited for, though no backup was ever made of it: a job that nobody set up is what is noticed last.
func TestAServerThatWasLetInIsWaitedFor(t *testing.T) {
	a, other := newBench(t), newLoneBench(t)
	other.repo = a.repo
	a.must("run", "--verify")
	mine := a.list()[0].Manifest.Server.SystemIdentifier
	a.must("healthcheck")
	other.must("init", "--add-server")
	theirs := other.column("postgres", "SELECT system_identifier::text FROM pg_control_system()")[0]
	missing := "no good backup of server " + theirs
	says(t, a.want(exitOther, "healthcheck"), missing, "accept --of-server="+theirs)
	says(t, a.must("healthcheck", "--of-server="+mine), "ok")
	says(t, a.must("list"), "none: server "+theirs)
	if _, known := a.gather()["age_seconds"]; !known {
		t.Error("the newest good backup has no age, though there is one")
	}
	for _, args := range [][]string{{"list"}, {"show", "latest"}, {"verify", "latest"}} { // what there is of the other stays at hand
		says(t, a.must(args...), a.list()[0].ID)
	}
	a.want(exitNothing, "accept", "--of-server="+theirs, "--database=postgres")
	a.must("accept", "--of-server="+theirs)
	a.must("healthcheck")
	other.must("run", "--verify")
	says(t, a.must("healthcheck"), "of server "+mine, "of server "+theirs)
}

// What is said of one server's database is not said of another's that has the same name.
func TestADatabaseIsLetGoForOneServerOnly(t *testing.T) {
	a, other := newBench(t), newLoneBench(t)
	other.repo = a.repo
	for _, b := range []*bench{a, other} {
		b.exec("postgres", `CREATE DATABASE archive`)
		b.exec("archive", `CREATE TABLE letter AS SELECT i FROM generate_series(1, 10) AS i`, `CREATE EXTENSION hstore`,
			`CREATE TABLE theirs AS SELECT 1 AS id`, `ALTER EXTENSION hstore ADD TABLE theirs`)
	}
	a.exec("postgres", `CREATE DATABASE lone`)
	a.must("run", "--verify", "--keep=1")
	other.must("init", "--add-server")
	other.must("run", "--verify", "--keep=1")
	holder, theirs := a.list()[1], a.list()[0].Manifest.Server.SystemIdentifier
	mine := holder.Manifest.Server.SystemIdentifier
	gone := func() string { return string(read(t, filepath.Join(a.repo, "servers.json"))) }
	before := gone()
	for _, args := range [][]string{{"--database=archive"}, {"--database=archive", "--extension-data=public.theirs"}} {
		says(t, a.want(exitConfig, append([]string{"accept"}, args...)...), "--of-server: ", mine, theirs)
	}
	a.want(exitNothing, "accept", "--database=archive", "--of-server=7")
	a.want(exitNothing, "accept", "--database=lone", "--of-server="+theirs) // it never had one
	if gone() != before {
		t.Fatalf("it was noted:\n%s", gone())
	}
	a.must("accept", "--database=archive", "--extension-data=public.theirs", "--of-server="+theirs)
	if text := gone(); strings.Count(text, "public.theirs") != 1 {
		t.Errorf("it is noted of both:\n%s", text)
	}

	other.exec("postgres", `DROP DATABASE archive`)
	other.must("run", "--keep=1", "--suspect-below=0")
	says(t, other.must("accept", "--database=archive"), "gone for good") // the other has it still
	a.exec("postgres", `DROP DATABASE archive`)
	a.must("run", "--verify", "--keep=1")
	if newest := a.list()[0]; newest.Health != catalog.IsSuspect || !strings.Contains(newest.Problem, "vanished database archive") {
		t.Fatalf("state %s (%s), want suspect, with the name", newest.Health, newest.Problem)
	}
	a.must("run", "--verify", "--keep=1", "--suspect-below=0")
	var ids []string
	for _, b := range a.list() {
		ids = append(ids, b.ID)
	}
	if !slices.Contains(ids, holder.ID) {
		t.Fatalf("the only backup with the first server's database archive was pruned: %v", ids)
	}
	reason := "one with database archive"
	says(t, a.must("prune", "--keep=1", "--dry-run"), reason)
	a.must("accept", "--database=archive", "--of-server="+mine)
	if out := a.must("prune", "--keep=1", "--dry-run"); strings.Contains(out, reason) {
		t.Errorf("it is kept after somebody said that archive is gone:\n%s", out)
	}
}

// A fresh backup of one server does not make another's late one look fresh, until somebody says that nobody waits for it.
func TestAnotherServersFreshBackupHidesNoLateOne(t *testing.T) {
	b := newBench(t)
	b.must("run", "--verify")
	late := b.list()[0]
	if out := b.must("list"); strings.Contains(out, "SERVER") {
		t.Errorf("one server has a column of its own:\n%s", out)
	}
	b.clone(filepath.Join(b.repo, "backups", late.ID), late, 2)
	b.rewrite(filepath.Join(b.repo, "backups", b.list()[0].ID), func(m map[string]any) {
		m["server"].(map[string]any)["system_identifier"] = "7"
		m["bytes"] = 1
	})
	b.shift(late.ID, -30*24*time.Hour)
	month := (30 * 24 * time.Hour).Seconds()
	for _, name := range []string{"age_seconds", "pg_reliability_rpo_seconds"} {
		if got := b.gather()[name]; got < month {
			t.Errorf("%s is %v, of the other server's backup", name, got)
		}
	}
	b.gather().absent(t, "previous_size_bytes") // the other server's is none
	mine := late.Manifest.Server.SystemIdentifier
	says(t, b.want(exitOther, "healthcheck"), late.ID, "of server "+mine, "accept --of-server="+mine)
	says(t, b.must("healthcheck", "--of-server=7"), "ok: backup")
	b.want(exitOther, "healthcheck", "--of-server="+mine)
	says(t, b.must("list"), "SERVER", mine)
	// Nor does the proof of one stand for the other's.
	says(t, b.must("verify", "--level=1"), late.ID, b.list()[0].ID)
	out := b.must("verify", "latest", "--level=1", "--of-server="+mine)
	if strings.Contains(out, b.list()[0].ID) || !strings.Contains(out, late.ID) {
		t.Errorf("of the one server another backup was checked:\n%s", out)
	}
	says(t, b.must("show", "--of-server="+mine), late.ID)
	says(t, b.must("show", "--of-server=7"), b.list()[0].ID)
	b.want(exitNothing, "show", "--of-server=8")

	says(t, b.must("accept", "--of-server="+mine), mine)
	says(t, b.must("healthcheck"), "ok: backup")
	says(t, b.want(exitRefused, "accept", "--of-server=7"), "the only one")
	if got := b.gather()["age_seconds"]; got > month {
		t.Errorf("the age is %v, of the server that is no more", got)
	}
	b.must("run") // it is back
	again := b.list()[0].ID
	b.must("healthcheck")
	b.shift(again, -30*24*time.Hour)
	b.want(exitOther, "healthcheck")
}

func TestVanishedDatabaseIsASuspicionAndItsLastBackupStays(t *testing.T) {
	b := newBench(t)
	b.exec("postgres", `CREATE DATABASE archive`)
	b.exec("archive", `CREATE TABLE letter AS SELECT i FROM generate_series(1, 10) AS i`)
	b.must("run", "--verify", "--keep=1")
	holder := b.list()[0]
	b.exec("postgres", `DROP DATABASE archive`)
	b.must("run", "--verify", "--keep=1")
	newest := b.list()[0]
	if newest.Health != catalog.IsSuspect || !strings.Contains(newest.Problem, "vanished database archive") {
		t.Fatalf("state %s (%s), want suspect, with the name", newest.Health, newest.Problem)
	}
	// Also where nobody is asked.
	b.must("run", "--verify", "--keep=1", "--suspect-below=0")
	b.must("run", "--verify", "--keep=1", "--suspect-below=0")
	kept := func() (ids []string) {
		for _, x := range b.list() {
			ids = append(ids, x.ID)
		}
		return ids
	}
	if !strings.Contains(strings.Join(kept(), " "), holder.ID) {
		t.Fatalf("the only backup with database archive was pruned: %v", kept())
	}
	b.must("accept", newest.ID)
	b.must("prune", "--keep=1")
	if ids := kept(); len(ids) != 1 {
		t.Errorf("after it was accepted %v are left, want the newest alone", ids)
	}
	// By its name, before or after the run that would miss it: no run does, and it may come and vanish again.
	for _, runs := range []int{0, 1} {
		b.exec("postgres", `CREATE DATABASE archive`)
		b.must("run", "--keep=1")
		b.exec("postgres", `DROP DATABASE archive`)
		for range runs {
			b.must("run", "--keep=1")
		}
		out := b.must("accept", "--database=archive")
		if suspect := b.list()[0]; runs > 0 {
			if !strings.Contains(out, "pg_reliability_backup accept "+suspect.ID) {
				t.Errorf("accept --database does not name %s, which pauses pruning still:\n%s", suspect.ID, out)
			}
			b.must("accept", suspect.ID)
		}
		b.must("run", "--keep=1")
		for _, left := range b.list() {
			if _, held := left.Manifest.Database("archive"); held || !left.Health.Good() {
				t.Fatalf("after accept --database, with %d runs before it, %s is left: %s %s", runs, left.ID, left.Health, left.Problem)
			}
		}
	}
}

func TestEmptiedTableIsASuspicionWithItsName(t *testing.T) {
	b := newBench(t)
	b.exec("shop", `CREATE TABLE big AS SELECT i FROM generate_series(1, 20000) AS i`,
		`CREATE TABLE days (at date) PARTITION BY RANGE (at)`,
		`CREATE TABLE day_1 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2026-01-02')`,
		`INSERT INTO days SELECT '2026-01-01' FROM generate_series(1, 500)`)
	b.must("run")
	b.exec("shop", `DROP TABLE day_1`) // partitions rotate out every night
	b.must("run")
	if got := b.list()[0]; got.Health != catalog.Unverified {
		t.Fatalf("state %s (%s) after a partition was dropped", got.Health, got.Problem)
	}
	b.exec("shop", `DELETE FROM item`)
	b.must("run")
	if got := b.list()[0]; got.Health != catalog.IsSuspect || !strings.Contains(got.Problem, "shop.public.item (empty, it had 2000 rows)") {
		t.Errorf("state %s (%s), want suspect, with the table's name", got.Health, got.Problem)
	}
}

func TestCutJournalIsNoObstacle(t *testing.T) {
	b := newBench(t)
	b.must("run")
	path := filepath.Join(b.repo, "state.json")
	for _, text := range []string{"", "{", `{"format": 2, "last_seq`} {
		write(t, path, []byte(text))
		if out := b.must("list"); !strings.Contains(out, "journal is damaged") {
			t.Errorf("no warning in\n%s", out)
		}
		for _, command := range []string{"show", "healthcheck", "run"} {
			b.must(command)
		}
		if _, err := os.Stat(path + ".damaged"); err != nil {
			t.Error(err)
		}
	}
	// Where the backups are gone, too, it is still no new repository: an application must not begin from nothing.
	for _, x := range b.list() {
		if err := os.RemoveAll(filepath.Join(b.repo, "backups", x.ID)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, path, []byte("{"))
	b.exec("postgres", `DROP DATABASE shop`)
	if out, code := b.super().prog("bootstrap"); code != exitRepository {
		t.Errorf("exit code %d, want %d\n%s", code, exitRepository, out)
	}
}
