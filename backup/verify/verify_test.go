package verify_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgdump"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/job"
	"github.com/pg-reliability/pg_reliability_exporter/backup/retention"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/verify"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

type lines struct{ strings.Builder }

// A backup on a disk that is mounted read-only can be proved; that the result can't be noted is a warning.
func TestAReadOnlyRepositoryIsVerified(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: a directory without the right to write stands for the mount")
	}
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	if err := pg.Exec(t.Context(), "CREATE DATABASE shop"); err != nil {
		t.Fatal(err)
	}
	if err := pg.ExecIn(t.Context(), "shop", "CREATE TABLE t AS SELECT generate_series(1, 10)"); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "repo")
	repo, err := catalog.Init(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	target, err := server.Parse(pg.DSN(pgtest.Superuser, "postgres"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var out lines
	logger := log.NewLogfmtLogger(log.NewSyncWriter(&out))
	e := &pgdump.Engine{}
	j := &job.Job{
		Pruner: job.Pruner{Repo: repo, Policy: retention.Policy{Keep: 7}, Log: logger},
		Engine: e, Trigger: "run", Tool: "test", Now: time.Now,
		Request: engine.Request{Target: target, Log: logger},
	}
	res, err := j.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v := &verify.Verifier{Repo: repo, Engines: []engine.Engine{e}, Log: logger, Now: time.Now}
	t.Cleanup(readOnly(t, dir))
	got, err := v.Verify(t.Context(), res.Backup.ID, verify.Rehearsal)
	if err != nil || got.Result != catalog.Passed || got.Rows != 10 {
		t.Errorf("%+v, %v", got, err)
	}
	if !strings.Contains(out.String(), "can't be noted in the repository") {
		t.Errorf("nothing is said of it:\n%s", out.String())
	}
	if b, err := repo.Get(res.Backup.ID); err != nil || b.Health != catalog.Unverified {
		t.Errorf("the backup is %s, %v", b.Health, err)
	}
	if _, err := v.Verify(t.Context(), "20000101T000000Z-1", verify.Rehearsal); failure.Of(err) != failure.Nothing {
		t.Errorf("a backup that is not there: %v", err)
	}
}

// readOnly makes a directory read-only, and returns what makes it writable again.
func readOnly(t *testing.T, dir string) func() {
	t.Helper()
	if os.Geteuid() != 0 {
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		return func() { _ = os.Chmod(dir, 0o700) }
	}
	err := syscall.Mount(dir, dir, "", syscall.MS_BIND, "")
	if err == nil {
		err = syscall.Mount(dir, dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
	}
	if err != nil {
		t.Skipf("as root, and may not mount: %v", err)
	}
	return func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }
}
