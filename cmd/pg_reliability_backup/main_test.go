package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// asProgram makes the test binary be the program: faults are done to a real process.
const asProgram = "PG_RELIABILITY_BACKUP_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		if limit := os.Getenv("TEST_FSIZE"); limit != "" {
			var n uint64
			fmt.Sscan(limit, &n)
			_ = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: n})
		}
		main()
	}
	os.Exit(m.Run())
}

// long is true where the tests may take minutes: twenty kills, a gigabyte, the cost.
func long() bool { return os.Getenv("PG_RELIABILITY_LONG") == "1" }

const role = "reliability_backup"

// bench is a server, a repository and the program.
type bench struct {
	t    *testing.T
	pg   *pgtest.Cluster
	repo string
	env  []string // for the program, besides the connection

	install pgtest.Install // of the server; the zero value is what the other tests have
	bin     string         // where its client tools are; "" is beside its server's programs
	quick   string         // programs that make throwaway clusters fast (pgtest.QuickInit); "" is what the machine has
}

// newBench makes a bench, beside those of other tests.
func newBench(t *testing.T) *bench {
	t.Helper()
	if !long() {
		t.Parallel()
	}
	return newLoneBench(t)
}

// newLoneBench makes a bench for a test that measures and wants the machine for itself.
func newLoneBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, pg: pgtest.New(t, pgtest.Options{NoMonitorRole: true}), repo: filepath.Join(t.TempDir(), "repo")}
	if os.Getenv(pgtest.ClientDirs) == "" {
		b.quick = strings.Join(pgtest.QuickInit(t, b.pg.Install), "")
	}
	b.exec("postgres", `CREATE ROLE `+role+` LOGIN PASSWORD '`+pgtest.Password+`' IN ROLE pg_read_all_data, pg_monitor`,
		`CREATE DATABASE shop`)
	b.exec("shop",
		`CREATE TABLE item (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)`,
		`INSERT INTO item (v) SELECT md5(i::text) FROM generate_series(1, 2000) i`)
	if out, code := b.prog("init"); code != 0 || strings.Contains(out, "already") {
		t.Fatalf("init: %d %s", code, out)
	}
	return b
}

func (b *bench) exec(database string, sql ...string) {
	b.t.Helper()
	if err := b.pg.ExecIn(context.Background(), database, sql...); err != nil {
		b.t.Fatal(err)
	}
}

// fill adds incompressible rows: about n megabytes of dump.
func (b *bench) fill(megabytes int) {
	b.t.Helper()
	b.exec("shop", "CREATE TABLE noise (i int, v text)")
	conn, err := b.pg.Connect(context.Background(), "shop")
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	random := make([]byte, 1000)
	rows := pgx.CopyFromSlice(megabytes*1000, func(i int) ([]any, error) {
		_, _ = rand.Read(random) // never fails
		return []any{int32(i), base64.StdEncoding.EncodeToString(random)}, nil
	})
	if _, err := conn.CopyFrom(context.Background(), pgx.Identifier{"noise"}, []string{"i", "v"}, rows); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) cmd(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PG") && !strings.HasPrefix(kv, "DATA_SOURCE") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, asProgram+"=1", "PG_RELIABILITY_BACKUP_REPOSITORY="+b.repo)
	if b.pg != nil {
		cmd.Env = append(cmd.Env, "DATA_SOURCE_NAME="+b.pg.DSN(role, "postgres"))
	}
	if b.quick != "" {
		cmd.Env = append(cmd.Env, pgtest.ClientDirs+"="+b.quick)
	}
	cmd.Env = append(cmd.Env, b.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// prog runs the program to its end; the output is both streams.
func (b *bench) prog(args ...string) (string, int) {
	b.t.Helper()
	var out bytes.Buffer
	cmd := b.cmd(args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func (b *bench) must(args ...string) string {
	b.t.Helper()
	out, code := b.prog(args...)
	if code != 0 {
		b.t.Fatalf("%v: exit code %d\n%s", args, code, out)
	}
	return out
}

// want runs the program and expects an exit code.
func (b *bench) want(code int, args ...string) string {
	b.t.Helper()
	out, got := b.prog(args...)
	if got != code {
		b.t.Fatalf("%v: exit code %d, want %d\n%s", args, got, code, out)
	}
	return out
}

func (b *bench) super() *bench {
	c := *b
	c.env = append([]string{"DATA_SOURCE_NAME=" + b.pg.DSN(pgtest.Superuser, "postgres")}, b.env...)
	return &c
}

func (b *bench) list() []catalog.Backup {
	b.t.Helper()
	repo, err := catalog.Open(b.repo)
	if err != nil {
		b.t.Fatal(err)
	}
	all, err := repo.List()
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

// run makes a backup and returns its id.
func (b *bench) run(args ...string) string {
	b.t.Helper()
	var out bytes.Buffer
	cmd := b.cmd(append([]string{"run", "--json"}, args...)...)
	var logs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &logs
	if err := cmd.Run(); err != nil {
		b.t.Fatalf("run: %v\n%s", err, logs.String())
	}
	var res struct{ Backup catalog.Backup }
	if err := json.Unmarshal(out.Bytes(), &res); err != nil {
		b.t.Fatalf("%v: %s", err, out.String())
	}
	return res.Backup.ID
}

// gather reads the metrics as the exporter shows them.
func (b *bench) gather() samples {
	b.t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(metrics.New(b.repo, time.Now).Metrics())
	families, err := r.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	return flatten(families)
}

// samples maps name{label="value",...} to a value, without the long common prefix.
type samples map[string]float64

func flatten(families []*dto.MetricFamily) samples {
	s := samples{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := strings.TrimPrefix(f.GetName(), "pg_reliability_backup_")
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			v := m.GetGauge().GetValue()
			if m.Counter != nil {
				v = m.Counter.GetValue()
			}
			if m.Untyped != nil {
				v = m.Untyped.GetValue()
			}
			s[name] = v
		}
	}
	return s
}

func (s samples) expect(t *testing.T, name string, want float64) {
	t.Helper()
	if got, ok := s[name]; !ok || got != want {
		t.Errorf("%s = %v (present: %t), want %v", name, got, ok, want)
	}
}

func (s samples) absent(t *testing.T, name string) {
	t.Helper()
	if got, ok := s[name]; ok {
		t.Errorf("%s = %v, want it absent", name, got)
	}
}

// checkGood verifies by full read that every backup listed as good is good, and returns their ids.
func (b *bench) checkGood() []string {
	b.t.Helper()
	var ids []string
	for _, x := range b.list() {
		if x.Health.Good() {
			ids = append(ids, x.ID)
			b.must("verify", x.ID, "--level", "2")
		}
	}
	return ids
}
