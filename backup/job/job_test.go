package job_test

import (
	"context"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgdump"
	"github.com/pg-reliability/pg_reliability_exporter/backup/job"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/backup/retention"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/verify"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// bench is a server with a small shop on it, a repository and a job.
type bench struct {
	pg   *pgtest.Cluster
	repo *catalog.Repository
	job  *job.Job
}

// backupRole is what deploy/sql/backup_role.sql makes: no superuser.
const backupRole = "reliability_backup"

var shop = []string{
	`CREATE SCHEMA "Odd; name"`,
	`CREATE TABLE customer (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE)`,
	`CREATE TABLE "Odd; name"."order's" (id serial PRIMARY KEY, customer_id bigint REFERENCES customer, at timestamptz) `,
	`CREATE TABLE log (at date NOT NULL, line text) PARTITION BY RANGE (at)`,
	`CREATE TABLE log_2026 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')`,
	`CREATE TABLE log_rest PARTITION OF log DEFAULT`,
	`CREATE INDEX ON log (at)`,
	`CREATE VIEW rich AS SELECT * FROM customer WHERE id > 10`,
	`CREATE MATERIALIZED VIEW poor AS SELECT * FROM customer WHERE id < 10`,
	`CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2'`,
	`CREATE EXTENSION IF NOT EXISTS plpgsql`,
	`INSERT INTO customer (name) SELECT 'customer ' || i FROM generate_series(1, 1000) i`,
	`INSERT INTO "Odd; name"."order's" (customer_id, at) SELECT 1 + i % 1000, now() FROM generate_series(1, 3000) i`,
	`INSERT INTO log SELECT date '2025-12-01' + i, repeat('x', 100) FROM generate_series(1, 100) i`,
	`GRANT SELECT, INSERT, UPDATE, DELETE ON customer TO app`,
}

func newBench(t *testing.T) *bench {
	t.Helper()
	ctx := context.Background()
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	for _, s := range []string{
		`CREATE ROLE ` + backupRole + ` LOGIN PASSWORD '` + pgtest.Password + `' IN ROLE pg_read_all_data, pg_monitor`,
		`CREATE ROLE app LOGIN PASSWORD 'app''s'`,
		`CREATE DATABASE shop OWNER app`,
		`ALTER DATABASE shop SET search_path = "$user", public`,
		`ALTER DATABASE shop SET work_mem = '5MB'`,
		`ALTER ROLE app IN DATABASE shop SET statement_timeout = '1min'`,
		`REVOKE CONNECT ON DATABASE shop FROM PUBLIC`,
		`GRANT CONNECT ON DATABASE shop TO app, ` + backupRole,
		`COMMENT ON DATABASE shop IS 'it''s the shop'`,
	} {
		if err := pg.Exec(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	if err := pg.ExecIn(ctx, "shop", shop...); err != nil {
		t.Fatal(err)
	}
	repo, err := catalog.Init(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	target, err := server.Parse(pg.DSN(backupRole, "postgres"), nil)
	if err != nil {
		t.Fatal(err)
	}
	e := &pgdump.Engine{}
	logger := log.NewLogfmtLogger(testWriter{t})
	return &bench{pg: pg, repo: repo, job: &job.Job{
		Pruner: job.Pruner{Repo: repo, Policy: retention.Policy{Keep: 7}, Log: logger},
		Engine: e, Limits: job.Limits{SuspectBelow: 0.5}, Trigger: "run", Tool: "test",
		Request: engine.Request{Target: target, LockWait: 2 * time.Second, Log: logger}, Now: time.Now,
		Verifier: &verify.Verifier{Repo: repo, Engines: []engine.Engine{e}, Log: logger, Now: time.Now,
			Finder: clients.Finder{Dirs: pgtest.QuickInit(t, pg.Install)}},
	}}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

func TestBackupIsRestoredAndComparedEqual(t *testing.T) {
	b := newBench(t)
	b.job.Verify = true
	res, err := b.job.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if res.Backup.Health != catalog.Verified {
		t.Errorf("state = %s (%s), want verified", res.Backup.Health, res.Backup.Problem)
	}
	if got := res.Backup.Manifest.Rows(); got != 4100 {
		t.Errorf("the manifest has %d rows, want 4100", got)
	}
	if v := res.Verification; v.Rows != 4100 || v.RestoreSeconds <= 0 {
		t.Errorf("verification = %+v, want 4100 rows and a time", v)
	}
}

func (b *bench) run(t *testing.T) catalog.Backup {
	t.Helper()
	res, err := b.job.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return *res.Backup
}

func (b *bench) restorer(t *testing.T, pg *pgtest.Cluster) *restore.Restorer {
	t.Helper()
	target, err := server.Parse(pg.DSN(pgtest.Superuser, "postgres"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &restore.Restorer{Repo: b.repo, Engines: []engine.Engine{b.job.Engine}, Target: target, Log: b.job.Log, Now: time.Now}
}

func query(t *testing.T, pg *pgtest.Cluster, database, sql string) string {
	t.Helper()
	got, err := pg.Query(context.Background(), database, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}
