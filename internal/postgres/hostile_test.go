package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/hostile"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// What a server sends costs neither memory nor the process, and what is said of it is short and clean.
func TestAHostileServerCostsNothing(t *testing.T) {
	server := hostile.New(t, nil)
	dsn := fmt.Sprintf("host=127.0.0.1 port=%d user=u password=p dbname=d sslmode=disable", server.Port())
	for _, f := range hostile.Faults() {
		if f.Probe != nil {
			continue // the exporter's, and here no other than queries
		}
		t.Run(f.Name, func(t *testing.T) {
			server.Be(f)
			peak := watchHeap(t)
			err := loginAndAsk(t, dsn, 2*time.Second) // some faults last until we give up
			if server.Met() == 0 {
				t.Fatal("the fault was not met")
			}
			const most = 32 << 20
			if grown := peak(); grown > most {
				t.Errorf("the heap grew by %d MB", grown>>20)
			}
			if err == nil {
				t.Log("it made no difference")
				return
			}
			t.Logf("%s: %.200s", postgres.ReasonOf(err), err)
			if len(err.Error()) > 1200 || !utf8.ValidString(err.Error()) {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			var said *pgconn.PgError
			if reason := postgres.ReasonOf(err); reason == postgres.Other && !errors.As(err, &said) || strings.Contains(err.Error(), "%!") {
				t.Errorf("reason %s: %v", reason, err)
			}
			for _, r := range err.Error() {
				if unicode.IsControl(r) {
					t.Fatalf("the error has the character %q", r)
				}
			}
		})
	}
}

// The driver's own check takes the answer's first row for granted.
func TestACheckOfTargetSessionAttrsSurvivesAnEmptyAnswer(t *testing.T) {
	server := hostile.New(t, nil)
	for _, attrs := range []string{"read-write", "read-only", "primary", "standby", "prefer-standby"} {
		dsn := fmt.Sprintf("host=127.0.0.1 port=%d user=u dbname=d sslmode=disable target_session_attrs=%s", server.Port(), attrs)
		err := loginAndAsk(t, dsn, pgtest.Patience(2*time.Second))
		if err == nil || postgres.ReasonOf(err) != postgres.Protocol {
			t.Errorf("%s: %v", attrs, err)
		}
	}
	if server.Met() == 0 {
		t.Error("the check was not made")
	}
}

// Texts that are cut do not split a character.
func TestWhatWasTooMuchIsSaid(t *testing.T) {
	server := hostile.New(t, nil)
	for _, f := range hostile.Faults() {
		switch f.Name {
		case "login: notices without end", "query: rows without end", "query: an error of 9 MB", "login: 10 million rounds of SCRAM's hash":
			server.Be(f)
			dsn := fmt.Sprintf("host=127.0.0.1 port=%d user=u password=p dbname=d sslmode=disable", server.Port())
			err := loginAndAsk(t, dsn, pgtest.Patience(2*time.Second))
			if !errors.Is(err, postgres.ErrTooMuch) {
				t.Errorf("%s: %v", f.Name, err)
			}
		}
	}
}

// loginAndAsk connects and asks twice, within a time.
func loginAndAsk(t *testing.T, dsn string, within time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	s, err := connector(t, dsn).Connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	statements := []postgres.Statement{{SQL: "SELECT 2", MaxBytes: 16 << 20}, {SQL: "SELECT 3", MaxBytes: 16 << 20}}
	out, err := s.Pipeline(ctx, statements, func(_ int, fields []pgconn.FieldDescription, values [][]byte) {
		if len(fields) != len(values) {
			t.Errorf("%d values for %d columns", len(values), len(fields))
		}
	})
	if err != nil {
		return err
	}
	for _, o := range out {
		if o.Err != nil {
			return o.Err
		}
	}
	_, err = s.Query(ctx, "SELECT 4")
	return err
}

// watchHeap says how far the heap grew at the most until it is asked.
func watchHeap(t *testing.T) func() int64 {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before := int64(m.HeapAlloc)
	var peak atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak.Store(max(peak.Load(), int64(m.HeapAlloc)-before))
			}
		}
	}()
	return func() int64 { close(stop); <-stopped; return peak.Load() }
}
