package pgdump_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgdump"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/job"
	"github.com/pg-reliability/pg_reliability_exporter/backup/retention"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/verify"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// backupRole is what deploy/sql/backup_role.sql makes: no superuser.
const backupRole = "reliability_backup"

// bench is a server, a repository and a job.
type bench struct {
	t    *testing.T
	pg   *pgtest.Cluster
	repo *catalog.Repository
	job  *job.Job
}

func newBench(t *testing.T, pg *pgtest.Cluster, role string) *bench {
	t.Helper()
	repo, err := catalog.Init(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	e := &pgdump.Engine{}
	if _, err := e.Programs(t.Context(), pg.Install.Major, "pg_dump", "postgres"); failure.Of(err) == failure.Version &&
		os.Getenv("PGTEST_VERSIONS") != "" {
		t.Skip(err) // only the server's programs of that version are here
	}
	logger := log.NewLogfmtLogger(testWriter{t})
	b := &bench{t: t, pg: pg, repo: repo, job: &job.Job{
		Pruner: job.Pruner{Repo: repo, Policy: retention.Policy{Keep: 7}, Log: logger},
		Engine: e, Limits: job.Limits{SuspectBelow: 0.5}, Trigger: "run", Tool: "test",
		Request: engine.Request{LockWait: 10 * time.Second, Log: logger}, Now: time.Now,
		Verifier: &verify.Verifier{Repo: repo, Engines: []engine.Engine{e}, Log: logger, Now: time.Now,
			Finder: clients.Finder{Dirs: pgtest.QuickInit(t, pg.Install)}},
	}}
	b.as(pg, role)
	return b
}

// as makes the job's sessions those of a role on a server.
func (b *bench) as(pg *pgtest.Cluster, role string) {
	b.t.Helper()
	var err error
	if b.job.Request.Target, err = server.Parse(pg.DSN(role, "postgres"), nil); err != nil {
		b.t.Fatal(err)
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

func newServer(t *testing.T, sql ...string) *pgtest.Cluster {
	t.Helper()
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	makeRole(t, pg)
	exec(t, pg, "postgres", sql...)
	return pg
}

// makeRole makes the documented role; PostgreSQL 13 has no pg_read_all_data.
func makeRole(t *testing.T, pg *pgtest.Cluster) {
	t.Helper()
	rights := "IN ROLE pg_read_all_data, pg_monitor"
	if pg.Install.Major < 14 {
		rights = "SUPERUSER"
	}
	exec(t, pg, "postgres", `CREATE ROLE `+backupRole+` LOGIN PASSWORD '`+pgtest.Password+`' `+rights)
}

func exec(t *testing.T, pg *pgtest.Cluster, database string, sql ...string) {
	t.Helper()
	if err := pg.ExecIn(context.Background(), database, sql...); err != nil {
		t.Fatal(err)
	}
}

// run makes a backup and expects the reason of its error, "" for none.
func (b *bench) run(want failure.Reason) catalog.Backup {
	b.t.Helper()
	res, err := b.job.Run(b.t.Context())
	if failure.Of(err) != want {
		b.t.Fatalf("reason %q (%v), want %q", failure.Of(err), err, want)
	}
	if res.Backup == nil {
		b.t.Fatalf("no backup was published: %v", err)
	}
	return *res.Backup
}

// lacks lists what of a kind a backup says it lacks: "database/name" or "database".
func lacks(b catalog.Backup, kind catalog.OmissionKind) string {
	var all []string
	for _, o := range b.Manifest.Omitted {
		if o.Kind == kind {
			all = append(all, strings.TrimSuffix(o.Database+"/"+o.Name, "/"))
		}
	}
	return strings.Join(all, " ")
}

func databases(b catalog.Backup) string {
	var all []string
	for _, d := range b.Manifest.Databases {
		all = append(all, d.Name)
	}
	return strings.Join(all, " ")
}
