// Package enginetest is what every engine of backups must do, as one suite of tests: back up, be listed, be checked, be
// rehearsed, come back, be forgotten, and fail well. An engine's own tests call Run, and test what is its own besides.
package enginetest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/job"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/verify"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// Rows of the table customer in the database shop of a bench's server.
const Rows = 1000

// Bench is an engine at work.
type Bench struct {
	// Server has the database shop, with Rows rows in the table customer.
	Server *pgtest.Cluster
	// Job backs it up with the engine, and verifies.
	Job *job.Job
	// Damage breaks a backup where the engine keeps its data.
	Damage func(t *testing.T, b catalog.Backup)
	// Fill makes the disk full that the engine writes to, until the function it returns is called.
	Fill func(t *testing.T) (empty func())
	// FullDisk is the reason of a failure on a full disk: failure.Space where the engine itself meets it, failure.Dump
	// where the server does, whose WAL can't be archived.
	FullDisk failure.Reason
}

// Run tests an engine. Each call of makeBench makes a server and a repository of their own.
func Run(t *testing.T, makeBench func(t *testing.T) *Bench) {
	for name, test := range map[string]func(t *testing.T, b *Bench){
		"a backup is listed, checked, rehearsed and comes back": comesBack,
		"damage is found":                                    damageIsFound,
		"what is forgotten is gone":                          isForgotten,
		"interrupted, it leaves nothing":                     leavesNothing,
		"a full disk costs one run":                          meetsAFullDisk,
		"without the server's programs nothing is condemned": condemnsNothing,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, makeBench(t))
		})
	}
}

// run makes a backup.
func (b *Bench) run(t *testing.T) catalog.Backup {
	t.Helper()
	res, err := b.Job.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return *res.Backup
}

func comesBack(t *testing.T, b *Bench) {
	e := b.Job.Engine
	if _, err := e.Estimate(t.Context(), b.Job.Request, nil); err != nil {
		t.Errorf("estimate: %v", err)
	}
	before := time.Now().Add(-time.Minute)
	got := b.run(t)
	m := got.Manifest
	if found, err := engine.Of([]engine.Engine{e}, got); err != nil || found != e || m.Engine != e.Name() {
		t.Errorf("the backup is of engine %q, %v", m.Engine, err)
	}
	if got.Health != catalog.Unverified || m.Server.Major() != b.Server.Install.Major || m.Bytes <= 0 || m.RecoveryPoint.Before(before) {
		t.Errorf("state %s, manifest %+v", got.Health, m)
	}
	if shop, ok := m.Database("shop"); !ok || shop.ServerBytes <= 0 || len(shop.Contents.Tables) != 1 {
		t.Errorf("the database shop is %+v", shop)
	}
	if all, err := b.Job.Repo.List(); err != nil || len(all) != 1 || all[0].ID != got.ID {
		t.Errorf("listed are %+v, %v", all, err)
	}
	if err := e.Check(t.Context(), got, nil); err != nil {
		t.Errorf("check: %v", err)
	}
	v, err := b.Job.Verifier.Verify(t.Context(), got.ID, verify.Rehearsal)
	if err != nil || v.Result != catalog.Passed || v.Rows != Rows || v.RestoreSeconds <= 0 {
		t.Errorf("rehearsal: %+v, %v", v, err)
	}
	restoring := e.Restoring()
	if (restoring.Databases == nil) == (restoring.Server == nil) {
		t.Fatalf("%s brings back %+v, want either databases or servers", e.Name(), restoring)
	}
	if restoring.Server != nil {
		b.restoreServer(t, restoring.Server, got)
		return
	}
	target, err := server.Parse(b.Server.DSN(pgtest.Superuser, "postgres"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := restore.Restorer{Repo: b.Job.Repo, Engines: []engine.Engine{e}, Target: target, Log: b.Job.Log, Now: time.Now}
	rep, err := r.Restore(t.Context(), restore.Options{Backup: got, Database: "shop", As: "again"})
	if err != nil || rep.Rows != Rows {
		t.Errorf("restore: %+v, %v", rep, err)
	}
	if n, err := b.Server.Query(t.Context(), "again", "SELECT count(*) FROM customer"); err != nil || n != fmt.Sprint(Rows) {
		t.Errorf("%s rows came back, %v", n, err)
	}
}

// restoreServer restores all files beside the server. Starting on them is the engine's own tests'.
func (b *Bench) restoreServer(t *testing.T, r engine.ServerRestorer, backup catalog.Backup) {
	t.Helper()
	dir := filepath.Join(b.Server.Dir, "again")
	rep, err := r.RestoreServer(t.Context(), engine.ServerOptions{Backup: backup, DataDir: dir})
	if err != nil || rep.DataDir != dir || rep.Archiving {
		t.Errorf("restore: %+v, %v", rep, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "PG_VERSION")); err != nil {
		t.Error(err)
	}
	if _, err := r.RestoreServer(t.Context(), engine.ServerOptions{Backup: backup, DataDir: dir}); failure.Of(err) != failure.Refused {
		t.Errorf("restore over what is there: %v, want it refused", err)
	}
}

func damageIsFound(t *testing.T, b *Bench) {
	got := b.run(t)
	b.Damage(t, got)
	if err := b.Job.Engine.Check(t.Context(), got, nil); failure.Of(err) != failure.Verify {
		t.Errorf("check: %v, want reason %s", err, failure.Verify)
	}
	if _, err := b.Job.Verifier.Verify(t.Context(), got.ID, verify.FullRead); failure.Of(err) != failure.Verify {
		t.Errorf("verify: %v", err)
	}
	if now, err := b.Job.Repo.Get(got.ID); err != nil || now.Health != catalog.Damaged {
		t.Errorf("the backup is %s, %v", now.Health, err)
	}
}

func isForgotten(t *testing.T, b *Bench) {
	b.Job.Policy.Keep = 1
	first, second := b.run(t), b.run(t)
	third := b.run(t)
	all, err := b.Job.Repo.List()
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for _, x := range all {
		left[x.ID] = true
	}
	// An engine may keep an older one that the newest builds upon, and never the newest's successors alone.
	if !left[third.ID] || left[first.ID] && left[second.ID] {
		t.Errorf("left are %v of %s, %s, %s, with one to keep", left, first.ID, second.ID, third.ID)
	}
	for _, x := range all {
		if err := b.Job.Engine.Check(t.Context(), x, nil); err != nil {
			t.Errorf("%s, which is left: %v", x.ID, err)
		}
	}
}

func leavesNothing(t *testing.T, b *Bench) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b.Job.Request.Progress = func(string, int64, int64) { cancel() }
	if _, err := b.Job.Run(ctx); failure.Of(err) != failure.Interrupted {
		t.Errorf("run: %v, want reason %s", err, failure.Interrupted)
	}
	if left, err := os.ReadDir(filepath.Join(b.Job.Repo.Dir(), "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	b.Job.Request.Progress = nil
	b.run(t)
	if all, err := b.Job.Repo.List(); err != nil || len(all) != 1 || !all[0].Health.Good() {
		t.Errorf("listed are %+v, %v", all, err)
	}
}

func meetsAFullDisk(t *testing.T, b *Bench) {
	first := b.run(t)
	empty := b.Fill(t)
	b.Job.NoSpaceCheck = true
	_, err := b.Job.Run(t.Context())
	t.Logf("on a full disk: %v", err)
	if failure.Of(err) != b.FullDisk {
		t.Errorf("run: %v, want reason %s", err, b.FullDisk)
	}
	empty()
	if all, err := b.Job.Repo.List(); err != nil || len(all) != 1 || all[0].ID != first.ID || !all[0].Health.Good() {
		t.Errorf("listed are %+v, %v, want %s as it was", all, err, first.ID)
	}
	b.run(t)
}

func condemnsNothing(t *testing.T, b *Bench) {
	got := b.run(t)
	b.Job.Verifier.Finder = clients.Finder{Dirs: []string{t.TempDir()}}
	v, err := b.Job.Verifier.Verify(t.Context(), got.ID, verify.Rehearsal)
	if failure.Of(err) != failure.Version || v.Result != catalog.Impossible {
		t.Errorf("%+v, %v, want reason %s", v, err, failure.Version)
	}
	if now, err := b.Job.Repo.Get(got.ID); err != nil || now.Health != catalog.Unverified {
		t.Errorf("the backup is %s, %v", now.Health, err)
	}
}

// SmallDisk is a file system of so many bytes at a directory, as root; Fill of a bench may then fill it.
func SmallDisk(t *testing.T, dir string, bytes int64) {
	t.Helper()
	if err := mountSmall(dir, bytes); err != nil {
		t.Skipf("a small disk can't be made here: %v", err)
	}
	t.Cleanup(func() { _ = unmount(dir) })
}

// FillDisk writes until a directory's disk is full, and returns what makes room again.
func FillDisk(t *testing.T, dir string) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 64<<10); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	_ = f.Close()
	return func() { _ = os.Remove(path) }
}
