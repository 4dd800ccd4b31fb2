package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// target_session_attrs means what it means to libpq, although each of our sessions is read-only: read-write is the primary.
func TestTargetSessionAttrsFindTheirServer(t *testing.T) {
	t.Parallel()
	primary := pgtest.New(t, pgtest.Options{})
	standby, err := primary.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Close() })
	pgtest.Eventually(t, 30*time.Second, func() error { // the standby takes its primary's role of the exporter, too
		return loginError(t, standby.MonitorDSN())
	})
	const nobody = 0
	for _, tc := range []struct {
		attrs                    string
		primary, standby, either int // the port that each list of hosts leads to; 0 is none
	}{
		{"any", primary.Port, standby.Port, standby.Port}, // the first of the list
		{"read-write", primary.Port, nobody, primary.Port},
		{"read-only", nobody, standby.Port, standby.Port},
		{"primary", primary.Port, nobody, primary.Port},
		{"standby", nobody, standby.Port, standby.Port},
		{"prefer-standby", primary.Port, standby.Port, standby.Port},
	} {
		for ports, want := range map[string]int{
			fmt.Sprint(primary.Port):                         tc.primary,
			fmt.Sprint(standby.Port):                         tc.standby,
			fmt.Sprintf("%d,%d", standby.Port, primary.Port): tc.either,
		} {
			t.Run(tc.attrs+" of "+ports, func(t *testing.T) {
				hosts := strings.TrimSuffix(strings.Repeat("127.0.0.1,", strings.Count(ports, ",")+1), ",")
				dsn := fmt.Sprintf("host=%s port=%s user=%s password=%s dbname=postgres sslmode=disable target_session_attrs=%s",
					hosts, ports, pgtest.Monitor, pgtest.Password, tc.attrs)
				if want == nobody {
					if err := loginError(t, dsn); err == nil || postgres.ReasonOf(err) != postgres.Other {
						t.Errorf("err = %v, want that no server is the right one", err)
					}
					return
				}
				for name, ask := range map[string]func(*testing.T, string, string) string{"connector": askConnector, "pool": askPool} {
					const where = "SELECT inet_server_port() || ' ' || current_setting('transaction_read_only')"
					if got := ask(t, dsn, where); got != fmt.Sprintf("%d on", want) {
						t.Errorf("%s: port and read-only = %s, want %d on", name, got, want)
					}
				}
			})
		}
	}
}

func loginError(t *testing.T, dsn string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience(10*time.Second))
	defer cancel()
	s, err := connector(t, dsn).Connect(ctx)
	if err == nil {
		s.Close()
	}
	return err
}

func askConnector(t *testing.T, dsn, sql string) string {
	t.Helper()
	s, err := connector(t, dsn).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rows, err := s.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	return *rows[0][0]
}

func askPool(t *testing.T, dsn, sql string) string {
	t.Helper()
	p, err := postgres.NewPool(postgres.PoolOptions{Connector: connector(t, dsn), Min: 1, Max: 3, Apart: 2, Logger: log.NewNopLogger()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	l, err := p.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	rows, err := l.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	return *rows[0][0]
}
