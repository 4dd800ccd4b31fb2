//go:build linux

package compose_test

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// firstStartCut is the power cut while the cluster is made, in a project of its own. The image is as those of PostgreSQL 18:
// they declare their volume one directory above those before.
func firstStartCut(t *testing.T, s *stack) {
	const image = "postgres:layout-of-18"
	dockerfile := strings.ReplaceAll(standins["postgres"], "/var/lib/postgresql/data", "/var/lib/postgresql")
	s.build(image, s.buildContext(dockerfile, map[string]string{"postgres-entrypoint.sh": "standin/postgres-entrypoint.sh"}))
	first := *s
	first.project = "pgr-first"
	first.settings = append([]string{"POSTGRES_IMAGE=" + image}, s.settings...)
	defer first.mustCompose("down", "--volumes")
	first.mustCompose("up", "--detach", "postgres")
	server := first.container("postgres")
	volume := first.run("volume", "inspect", "--format", "{{.Mountpoint}}", first.project+"_postgres-data")
	deadline := time.Now().Add(patience)
	for made := []string(nil); len(made) == 0; time.Sleep(time.Millisecond) { // initdb takes a second: no time for pgtest.Eventually
		made, _ = filepath.Glob(filepath.Join(volume, "*", "PG_VERSION"))
		if time.Now().After(deadline) {
			t.Fatalf("no cluster is made in %s: %s", volume, first.run("logs", "--tail", "5", server))
		}
	}
	if out, err := output(exec.Command("kill", "-9", first.run("inspect", "--format", "{{.State.Pid}}", server))); err != nil {
		t.Fatalf("kill: %v: %s", err, out)
	}
	pgtest.Eventually(t, patience, func() error {
		if err := first.login("postgres", first.secret("postgres_password")); err != nil {
			return err
		}
		if out, err := first.sql("SELECT datname FROM pg_database WHERE datname = 'app'"); err != nil || out != "app" {
			return errors.Join(fmt.Errorf("database app: %q", out), err)
		}
		return first.healthy("postgres")
	})
	if n := first.run("inspect", "--format", "{{.RestartCount}}", server); n == "0" {
		t.Errorf("the server was not killed")
	}
}
