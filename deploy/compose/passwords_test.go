//go:build linux

package compose_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// secretOf names the file of each role's password.
var secretOf = map[string]string{
	"reliability_exporter": "exporter_password", "reliability_backup": "backup_password",
	"reliability_replication": "replication_password", "shop_app": "app_password", "postgres": "postgres_password",
}

// passwords are those that roles have now.
type passwords struct {
	s   *stack
	was map[string]string
}

func (s *stack) passwords(roles ...string) passwords {
	s.t.Helper()
	p := passwords{s: s, was: map[string]string{}}
	for _, role := range roles {
		p.was[role] = s.secret(secretOf[role])
		if err := s.login(role, p.was[role]); err != nil {
			s.t.Fatalf("before the change: %v", err)
		}
	}
	return p
}

// change makes new ones as docs/compose.md says, up to the command that makes them known, and waits until they are.
func (p passwords) change(command string) {
	s := p.s
	s.t.Helper()
	var files []string
	for role := range p.was {
		files = append(files, "secrets/"+secretOf[role])
	}
	slices.Sort(files)
	s.typed("rm " + strings.Join(files, " ") + " && make secrets\n" + command)
	for role, old := range p.was {
		now := s.secret(secretOf[role])
		if now == old {
			s.t.Fatalf("%s has the same password", role)
		}
		pgtest.Eventually(s.t, patience, func() error { return s.login(role, now) })
		if err := s.login(role, old); err == nil || !strings.Contains(err.Error(), "password authentication failed") {
			s.t.Errorf("%s and its old password: %v", role, err)
		}
	}
}

func (s *stack) secret(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.secrets, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// login is an error unless the server takes the password.
func (s *stack) login(role, password string) error {
	_, err := s.try("exec", "--env", "PGPASSWORD="+password, s.container("postgres"),
		"psql", "--no-psqlrc", "--no-password", "-h", "127.0.0.1", "-U", role, "-d", "postgres", "-Atc", "SELECT 1")
	return err
}

// typed runs lines of docs/compose.md as a reader does; they must be in it.
func (s *stack) typed(lines string) string {
	s.t.Helper()
	guide, err := os.ReadFile(filepath.Join(s.root, "docs", "compose.md"))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(lines) {
		if !strings.Contains(string(guide), "\n    "+strings.TrimRight(line, "\n")) {
			s.t.Errorf("docs/compose.md does not say %s", line)
		}
	}
	if s.wrapped == "" {
		s.wrapped = s.dockerAsDocumented()
	}
	script := strings.NewReplacer("make secrets", "deploy/compose/secrets.sh "+s.secrets, "secrets/", s.secrets+"/").Replace(lines)
	out, err := s.shell(s.wrapped, script)
	if err != nil {
		s.t.Fatalf("%s\n%v\n%s", lines, err, out)
	}
	return out
}

// passwordsChanged changes that of every role, with an application connected.
func passwordsChanged(t *testing.T, s *stack) {
	before, err := s.page()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s.passwords("reliability_exporter", "reliability_backup", "shop_app").
		change("docker compose up -d --force-recreate bootstrap exporter backup")
	pgtest.Eventually(t, patience, func() error {
		return s.shows(map[string]float64{up: 1, `pg_reliability_probe_success{probe="login"}`: 1,
			"pg_reliability_outage_in_progress_seconds": 0})
	})
	s.record("Passwords of the exporter, the backup job and the application changed: until the exporter is in again", 0, began)
	pgtest.Eventually(t, patience, s.unhealthy)
	s.backup()
	s.mustCompose("--profile", "demo-load", "up", "--detach")
	orders, err := s.orders()
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, patience, func() error { return s.moreOrders(orders + 5) })
	s.mustCompose("--profile", "demo-load", "rm", "--stop", "--force", "demo-load")
	after, err := s.page()
	if err != nil {
		t.Fatal(err)
	}
	const downtime = "pg_reliability_downtime_seconds_total"
	lost := after.sum(downtime) - before.sum(downtime)
	if lost > 10 {
		t.Errorf("the change cost %.1f s of outage", lost)
	}
	s.note("The change of the passwords was an outage of %.1f s to the exporter", lost)

	s.passwords("postgres").change("for n in 1 2; do cat secrets/postgres_password; echo; done | " +
		`docker compose exec -T postgres psql -U postgres -c '\password'`)
	if out := s.mustSQL("SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%" + s.secret("postgres_password") + "%'"); out != "0" {
		t.Error("the superuser's new password is in pg_stat_statements")
	}
	s.mustCompose("up", "--detach") // bootstrap logs in with it
	pgtest.Eventually(t, patience, s.unhealthy)

	if !hasGrafana() {
		return
	}
	old := s.secret("grafana_password")
	s.typed(`rm secrets/grafana_password && make secrets
docker compose exec -T grafana grafana cli admin reset-admin-password --password-from-stdin <secrets/grafana_password`)
	if err := s.grafanaHasBoards(s.secret("grafana_password")); err != nil {
		t.Errorf("with the new password: %v", err)
	}
	if err := s.grafanaHasBoards(old); err == nil {
		t.Error("Grafana takes the old password")
	}
}
