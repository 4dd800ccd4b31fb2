package restore_test

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

// bench is a server, a repository, and a job that backs the one up into the other.
type bench struct {
	pg   *pgtest.Cluster
	repo *catalog.Repository
	job  *job.Job
}

// newServer makes a bench with nothing on its server but the job's role.
func newServer(t *testing.T, o pgtest.Options) *bench {
	t.Helper()
	o.NoMonitorRole = true
	b := &bench{pg: pgtest.New(t, o)}
	b.exec(t, "postgres", `CREATE ROLE `+backupRole+` LOGIN PASSWORD '`+pgtest.Password+`' IN ROLE pg_read_all_data, pg_monitor`)
	var err error
	if b.repo, err = catalog.Init(t.TempDir(), time.Now()); err != nil {
		t.Fatal(err)
	}
	target, err := server.Parse(b.pg.DSN(backupRole, "postgres"), nil)
	if err != nil {
		t.Fatal(err)
	}
	logger := log.NewLogfmtLogger(testWriter{t})
	e := &pgdump.Engine{}
	b.job = &job.Job{
		Pruner: job.Pruner{Repo: b.repo, Policy: retention.Policy{Keep: 7}, Log: logger},
		Engine: e, Limits: job.Limits{SuspectBelow: 0.5}, Trigger: "run", Tool: "test",
		Request: engine.Request{Target: target, LockWait: 2 * time.Second, Log: logger}, Now: time.Now,
		Verifier: &verify.Verifier{Repo: b.repo, Engines: []engine.Engine{e}, Log: logger, Now: time.Now,
			Finder: clients.Finder{Dirs: pgtest.QuickInit(t, b.pg.Install)}},
	}
	return b
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

// newBench adds a small shop.
func newBench(t *testing.T) *bench {
	t.Helper()
	return newBenchWith(t, pgtest.Options{})
}

func newBenchWith(t *testing.T, o pgtest.Options) *bench {
	t.Helper()
	b := newServer(t, o)
	b.exec(t, "postgres",
		`CREATE ROLE app LOGIN PASSWORD 'app''s'`,
		`CREATE DATABASE shop OWNER app`,
		`ALTER DATABASE shop SET search_path = "$user", public`,
		`ALTER DATABASE shop SET work_mem = '5MB'`,
		`ALTER ROLE app IN DATABASE shop SET statement_timeout = '1min'`,
		`REVOKE CONNECT ON DATABASE shop FROM PUBLIC`,
		`GRANT CONNECT ON DATABASE shop TO app, `+backupRole,
		`COMMENT ON DATABASE shop IS 'it''s the shop'`)
	b.exec(t, "shop", shop...)
	return b
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

func (b *bench) exec(t *testing.T, database string, sql ...string) {
	t.Helper()
	for _, s := range sql {
		if err := b.pg.ExecIn(context.Background(), database, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// run makes a backup.
func (b *bench) run(t *testing.T) catalog.Backup {
	t.Helper()
	res, err := b.job.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return *res.Backup
}

// verified makes a backup and rehearses it.
func (b *bench) verified(t *testing.T) catalog.Backup {
	t.Helper()
	b.job.Verify = true
	defer func() { b.job.Verify = false }()
	got := b.run(t)
	if got.Health != catalog.Verified {
		t.Fatalf("the backup is %s (%s), want it verified", got.Health, got.Problem)
	}
	return got
}

// restorer restores into a server as its superuser.
func (b *bench) restorer(t *testing.T, pg *pgtest.Cluster) *restore.Restorer {
	t.Helper()
	target, err := server.Parse(pg.DSN(pgtest.Superuser, "postgres"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &restore.Restorer{Repo: b.repo, Engines: []engine.Engine{&pgdump.Engine{}}, Target: target, Log: b.job.Log, Now: time.Now}
}
