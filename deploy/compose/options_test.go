//go:build linux

package compose_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// healthy returns an error unless the service's container is.
func (s *stack) healthy(service string) error {
	out, err := s.try("inspect", "--format", "{{.State.Status}} {{.State.Health.Status}}", s.container(service))
	if err == nil && out != "running healthy" {
		err = fmt.Errorf("%s is %s", service, out)
	}
	return err
}

// standby is the profile replica.
func standby(t *testing.T, s *stack) {
	began := time.Now()
	s.mustCompose("--profile", "replica", "up", "--detach")
	pgtest.Eventually(t, 3*time.Minute, func() error { return errors.Join(s.healthy("replica"), s.healthy("exporter-replica")) })
	s.record("`--profile replica`: until the standby streams and its exporter is healthy", 0, began)
	s.mustSQL("CREATE TABLE public.streamed ()")
	pgtest.Eventually(t, patience, func() error {
		_, err := s.try("exec", s.container("replica"), "psql", "-U", "postgres", "-d", "app", "-Atc", "SELECT * FROM public.streamed")
		return err
	})
	pgtest.Eventually(t, patience, func() error {
		out, err := s.try("exec", s.container("prometheus"), "wget", "-q", "-O", "-", "http://exporter-replica:9187/metrics")
		if err == nil && !strings.Contains(out, `pg_reliability_role{role="standby"} 1`) {
			err = errors.New("its exporter does not see a standby")
		}
		return err
	})
	s.mustSQL("DROP TABLE public.streamed")
	s.mustCompose("--profile", "replica", "rm", "--stop", "--force", "replica", "exporter-replica")
	s.mustSQL("SELECT pg_drop_replication_slot('replica')")
}

// pitr is the override for point-in-time recovery.
func pitr(t *testing.T, s *stack) {
	began := time.Now()
	s.override = "deploy/compose/pitr.yml"
	defer func() { s.override = "" }()
	s.mustCompose("up", "--detach", "--build")
	pgtest.Eventually(t, 3*time.Minute, func() error { return errors.Join(s.healthy("postgres"), s.healthy("backup-pitr")) })
	s.record("`deploy/compose/pitr.yml`: until pgBackRest's first backup is made", 0, began)
	pgtest.Eventually(t, patience, func() error {
		out, err := s.compose("exec", "-T", "backup-pitr", "pg_reliability_backup", "list")
		if err == nil && !strings.Contains(out, " verified ") {
			err = errors.New(out)
		}
		return err
	})
	s.mustSQL("SELECT pg_switch_wal()")
	pgtest.Eventually(t, patience, func() error {
		out, err := s.sql("SELECT last_archived_time > coalesce(last_failed_time, '-infinity') FROM pg_stat_archiver")
		if err == nil && out != "t" {
			err = errors.New("no WAL is archived")
		}
		return err
	})
	if out := s.run("logs", s.container("backup-pitr")); strings.Contains(out, "level=error") {
		t.Errorf("the backup job complains: %s", tail(out, 2000))
	}
}
