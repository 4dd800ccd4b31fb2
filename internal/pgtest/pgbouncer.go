package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// PgBouncer is one that stands before a cluster. Its database postgres is the cluster's, whoever asks, as the superuser.
type PgBouncer struct {
	Port int

	t   testing.TB
	ini string
	cmd *exec.Cmd
}

// PgBouncer starts one, with further lines in its section [pgbouncer], and ends it with the test.
func (c *Cluster) PgBouncer(t testing.TB, lines ...string) *PgBouncer {
	t.Helper()
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	b := &PgBouncer{Port: port, t: t, ini: filepath.Join(c.Dir, fmt.Sprintf("pgbouncer-%d.ini", port))}
	conf := fmt.Sprintf("[databases]\npostgres = host=%s port=%d user=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\n"+
		"unix_socket_dir =\nauth_type = any\nadmin_users = admin\n%s\n", c.Dir, c.Port, Superuser, port, strings.Join(lines, "\n"))
	if err := os.WriteFile(b.ini, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Kill)
	b.Start()
	return b
}

// DSN leads to a database through it: postgres, or pgbouncer, which is its admin console.
func (b *PgBouncer) DSN(user, database string) string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=%s sslmode=disable", b.Port, user, database)
}

// Start starts it, and waits until its console answers.
func (b *PgBouncer) Start() {
	b.t.Helper()
	bin, err := Tool("pgbouncer", "pgbouncer")
	if err != nil {
		b.t.Fatal(err)
	}
	out, err := os.Create(b.ini + ".log")
	if err != nil {
		b.t.Fatal(err)
	}
	defer out.Close()
	b.cmd = Command(bin, b.ini)
	b.cmd.Stdout, b.cmd.Stderr = out, out
	if err := Spawn(b.cmd); err != nil {
		b.t.Fatal(err)
	}
	Eventually(b.t, 20*time.Second, func() error { return b.Admin("SHOW VERSION") })
}

// Log is what it has said since it was started.
func (b *PgBouncer) Log() string {
	text, err := os.ReadFile(b.ini + ".log")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Kill ends it at once.
func (b *PgBouncer) Kill() {
	if b.cmd != nil {
		_ = b.cmd.Process.Kill()
		_ = b.cmd.Wait()
		b.cmd = nil
	}
}

// Admin gives its console a command, such as PAUSE postgres.
func (b *PgBouncer) Admin(command string) error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience(5*time.Second))
	defer cancel()
	config, err := pgx.ParseConfig(b.DSN("admin", "pgbouncer"))
	if err != nil {
		return err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, command)
	return err
}
