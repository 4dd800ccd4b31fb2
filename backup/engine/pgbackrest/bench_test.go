package pgbackrest_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgbackrest"
	"github.com/pg-reliability/pg_reliability_exporter/backup/job"
	"github.com/pg-reliability/pg_reliability_exporter/backup/retention"
	"github.com/pg-reliability/pg_reliability_exporter/backup/scratch"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/verify"
	"github.com/pg-reliability/pg_reliability_exporter/internal/atomicfile"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

const stanza = "main"

// TestMain lets more tests run at once than there are processors: pgBackRest waits for whole seconds
// and for disks.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// bench is a server that archives its WAL with pgBackRest, a catalogue, and a job.
type bench struct {
	pg     *pgtest.Cluster
	conf   string // pgBackRest's configuration
	repo   *catalog.Repository
	engine *pgbackrest.Engine
	job    *job.Job
}

// workspace is a directory in memory where there is room: pgBackRest syncs every one of a server's thousand files.
func workspace() string {
	const enough = 4 << 30
	if free, err := catalog.FreeBytes("/dev/shm"); err == nil && free > enough {
		return "/dev/shm"
	}
	return "/tmp"
}

// role is what deploy/sql's script makes: no superuser.
const role = "reliability_backup"

// newServer starts a server with an archive_command, without a stanza.
func newServer(t *testing.T, o pgtest.Options) *bench {
	t.Helper()
	if _, err := exec.LookPath("pgbackrest"); err != nil {
		t.Fatalf("%v. HINT: Run internal/pgtest/install.sh pgbackrest", err)
	}
	// Short, and of the servers' user, who must reach all of it.
	dir, err := os.MkdirTemp(workspace(), "pgbr-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &bench{conf: filepath.Join(dir, "pgbackrest.conf")}
	o.NoMonitorRole = true
	o.Dir = filepath.Join(dir, "pg")
	if o.Settings == nil {
		o.Settings = map[string]string{}
	}
	o.Settings["archive_mode"] = "on"
	o.Settings["wal_level"] = "replica"
	o.Settings["archive_command"] = fmt.Sprintf("'pgbackrest --config=%s --stanza=%s archive-push %%p'", b.conf, stanza)
	b.pg = pgtest.New(t, o)
	for _, sub := range []string{"repo", "log", "lock", "spool"} {
		mustRun(t, "mkdir", "-m", "750", filepath.Join(b.pg.Dir, sub))
	}
	conf := fmt.Sprintf(`[global]
repo1-path=%[1]s/repo
repo1-bundle=y
compress-type=lz4
log-path=%[1]s/log
lock-path=%[1]s/lock
spool-path=%[1]s/spool
start-fast=y
archive-timeout=10
[%[2]s]
pg1-path=%[3]s
pg1-port=%[4]d
pg1-socket-path=%[1]s
pg1-user=postgres
`, b.pg.Dir, stanza, b.pg.DataDir(), b.pg.Port)
	if err := os.WriteFile(b.conf, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `CREATE ROLE `+role+` LOGIN PASSWORD '`+pgtest.Password+`' IN ROLE pg_read_all_data, pg_monitor`)
	if b.repo, err = catalog.Init(t.TempDir(), time.Now()); err != nil {
		t.Fatal(err)
	}
	target, err := server.Parse(b.pg.DSN(role, "postgres"), nil)
	if err != nil {
		t.Fatal(err)
	}
	logger := log.NewLogfmtLogger(testWriter{t})
	b.engine = &pgbackrest.Engine{Stanza: stanza, Config: b.conf, Repository: b.repo}
	b.job = &job.Job{
		Pruner: job.Pruner{Repo: b.repo, Policy: retention.Policy{Keep: 7}, Log: logger},
		Engine: b.engine, Limits: job.Limits{SuspectBelow: 0.5}, Trigger: "run", Tool: "test",
		Request: engine.Request{Target: target, Log: logger}, Now: time.Now,
		Verifier: &verify.Verifier{Repo: b.repo, Engines: []engine.Engine{b.engine}, Log: logger, Now: time.Now,
			Scratch: scratch.Options{Base: workspace()}},
	}
	return b
}

// newBench adds the stanza and a shop.
func newBench(t *testing.T, o pgtest.Options) *bench {
	t.Helper()
	b := newServer(t, o)
	b.stock(t)
	return b
}

// stock adds the stanza and the shop.
func (b *bench) stock(t *testing.T) {
	t.Helper()
	b.pgbackrest(t, "stanza-create")
	b.exec(t, `CREATE DATABASE shop`)
	if err := b.pg.ExecIn(context.Background(), "shop",
		`CREATE TABLE customer (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, n int)`,
		`CREATE INDEX ON customer (n)`,
		`INSERT INTO customer (name, n) SELECT 'customer ' || i, i FROM generate_series(1, 1000) i`); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) exec(t *testing.T, statements ...string) {
	t.Helper()
	if err := b.pg.Exec(context.Background(), statements...); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) query(t *testing.T, database, sql string) string {
	t.Helper()
	got, err := b.pg.Query(context.Background(), database, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

// pgbackrest runs the program as its user would by hand.
func (b *bench) pgbackrest(t *testing.T, args ...string) {
	t.Helper()
	mustRun(t, "pgbackrest", append([]string{"--config=" + b.conf, "--stanza=" + stanza}, args...)...)
}

// run makes one backup of a type.
func (b *bench) run(t *testing.T, kind string) catalog.Backup {
	t.Helper()
	b.engine.Type = kind
	res, err := b.job.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return *res.Backup
}

// configure appends to pgBackRest's configuration.
func (b *bench) configure(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(b.conf)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), from) {
		t.Fatalf("%s has no %q", b.conf, from)
	}
	// Whole at any time: the server archives meanwhile.
	if err := atomicfile.Write(b.conf, []byte(strings.Replace(string(text), from, to, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func mustRun(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := pgtest.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}
