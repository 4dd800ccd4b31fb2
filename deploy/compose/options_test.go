//go:build linux

package compose_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
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

// demoLoad is the profile demo-load: orders of the sample application, that survive the server's crash.
func demoLoad(t *testing.T, s *stack) {
	began := time.Now()
	s.mustCompose("--profile", "demo-load", "up", "--detach")
	pgtest.Eventually(t, patience, func() error { return errors.Join(s.healthy("demo-load"), s.moreOrders(10)) })
	s.record("`--profile demo-load`: until it is healthy and has written ten orders", 0, began)
	confined(t, s, "demo-load")
	container := s.container("demo-load")
	// What the role allows, asked as the role.
	limits := s.run("exec", container, "sh", "-c", `PGPASSFILE=/tmp/pgpass psql -AtF ' ' -c "SELECT current_user, rolsuper,
		current_setting('statement_timeout'), current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'),
		has_table_privilege('shop.order_events', 'INSERT') FROM pg_roles WHERE rolname = current_user"`)
	if limits != "shop_app f 5s 2s 15s f" {
		t.Errorf("the load is written as %q", limits)
	}
	pgtest.Eventually(t, patience, func() error {
		result, err := s.query(`rate(pg_stat_database_tup_inserted{datname="app"}[1m]) > 5`)
		if err == nil && len(result) == 0 {
			err = errors.New("Prometheus sees no load")
		}
		return err
	})

	pid, err := strconv.Atoi(s.run("inspect", "--format", "{{.State.Pid}}", s.container("postgres")))
	if err != nil || pid < 2 {
		t.Fatalf("the container's process is %d: %v", pid, err)
	}
	began = time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var n int
	pgtest.Eventually(t, patience, func() (err error) { n, err = s.orders(); return err })
	pgtest.Eventually(t, patience, func() error { return s.moreOrders(n + 1) })
	s.record("`kill -9` of the server under `demo-load`: until an order is written again", recoveryObjective, began)
	pgtest.Eventually(t, patience, s.unhealthy)

	began = time.Now()
	s.mustCompose("--profile", "demo-load", "stop", "demo-load")
	took := time.Since(began)
	if state := s.run("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", container); state != "exited 0" || took > 8*time.Second {
		t.Errorf("stopped after %s it is %q; after ten seconds the engine kills", took, state)
	}
	pgtest.Eventually(t, patience, func() error {
		out, err := s.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'shop_app'")
		if err == nil && out != "0" {
			err = fmt.Errorf("%s sessions of the stopped load", out)
		}
		return err
	})
	s.mustCompose("--profile", "demo-load", "rm", "--force", "demo-load")
}

func (s *stack) orders() (int, error) {
	out, err := s.sql("SELECT count(*) FROM shop.orders")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(out)
}

// moreOrders returns an error unless there are at least so many.
func (s *stack) moreOrders(want int) error {
	n, err := s.orders()
	if err == nil && n < want {
		err = fmt.Errorf("%d orders", n)
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
	confined(t, s, "replica", "exporter-replica")

	// The standby's own logins: to the primary, and its exporter's to it.
	s.passwords("reliability_replication", "reliability_exporter").
		change(`docker compose --profile replica up -d --force-recreate bootstrap exporter replica exporter-replica`)
	s.mustSQL("CREATE TABLE public.streamed_again ()")
	pgtest.Eventually(t, patience, func() error {
		_, err := s.try("exec", s.container("replica"), "psql", "-U", "postgres", "-d", "app", "-Atc", "SELECT * FROM public.streamed_again")
		return errors.Join(err, s.healthy("exporter-replica"))
	})
	s.mustSQL("DROP TABLE public.streamed, public.streamed_again")
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
	confined(t, s, "postgres", "backup-pitr")
	if out := s.run("logs", s.container("backup-pitr")); strings.Contains(out, "level=error") {
		t.Errorf("the backup job complains: %s", tail(out, 2000))
	}
}
