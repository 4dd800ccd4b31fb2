package server_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// PgBouncer turns the settings of a login down: they are set by a statement then, in every session from the second on at once.
func TestSettingsHoldThroughPgBouncer(t *testing.T) {
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	bin, err := exec.LookPath("pgbouncer")
	if err != nil {
		bin = "/usr/sbin/pgbouncer"
	}
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	ini := filepath.Join(pg.Dir, "pgbouncer.ini")
	conf := fmt.Sprintf("[databases]\npostgres = host=%s port=%d user=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\npool_mode = session\n",
		pg.Dir, pg.Port, pgtest.Superuser, port)
	if err := os.WriteFile(ini, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := pgtest.Command(bin, ini)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	target, err := server.Parse(fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=postgres sslmode=disable", port, pgtest.Superuser), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		pgtest.Eventually(t, 20*time.Second, func() error {
			conn, err := target.Connect(t.Context(), "")
			if err != nil {
				return err
			}
			defer conn.Close(context.WithoutCancel(t.Context()))
			var path, security string
			if err := conn.QueryRow(t.Context(), "SELECT current_setting('search_path'), current_setting('row_security')").Scan(&path, &security); err != nil {
				return err
			}
			if path != "pg_catalog" || security != "off" {
				t.Errorf("search_path = %s, row_security = %s", path, security)
			}
			return nil
		})
	}
}
