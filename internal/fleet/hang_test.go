package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// One target's state directory hangs, here a FIFO in place of its file: all others, the fleet's own metrics, a reload, a target
// on demand, and the end go on.
func TestAStateDirectoryThatHangsStopsNothingElse(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"listen_addresses": "'*'"}})
	if err := errors.Join(c.WriteHBA("local all all trust\nhost all all 127.0.0.0/8 scram-sha-256\n"), c.Reload()); err != nil {
		t.Fatal(err)
	}
	target := func(i int) TargetConfig {
		return TargetConfig{Name: fmt.Sprintf("db%d", i), AuthModule: "m", Address: Address{Host: fmt.Sprintf("127.0.0.%d", i), Port: c.Port,
			Database: "postgres"}}
	}
	config := func(targets ...TargetConfig) *Config {
		return &Config{
			AuthModules: map[string]AuthModule{"m": {User: pgtest.Monitor, Password: pgtest.Password,
				Options: map[string]string{"sslmode": "disable"}}},
			MaxTargets: 10, IdleTimeout: time.Minute, Targets: targets, Allow: []AllowRule{{
				Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Ports: []int{c.Port}, Databases: []string{"postgres"},
				AuthModules: []string{"m"},
			}},
		}
	}
	base := t.TempDir()
	for _, at := range []string{stateDir(base, target(1), true), stateDir(base, target(4), false)} {
		if err := errors.Join(os.MkdirAll(at, 0o750), syscall.Mkfifo(filepath.Join(at, "state.json"), 0o600)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { // lets the reader go
			if f, err := os.OpenFile(filepath.Join(at, "state.json"), os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
				_ = f.Close()
			}
		})
	}
	embedded, err := collector.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	soon := func(what string, do func()) {
		t.Helper()
		done := make(chan struct{})
		go func() { defer close(done); do() }()
		select {
		case <-done:
		case <-time.After(pgtest.Patience(8 * time.Second)):
			t.Fatalf("%s hangs", what)
		}
	}
	var f *Fleet
	soon("the start", func() {
		f, err = New(Options{
			Config: config(target(1), target(2)), Settings: postgres.Settings{ApplicationName: "test", StatementTimeout: time.Second,
				LockTimeout: time.Second},
			PoolMin: 1, PoolMax: 4, StateDir: base, Definitions: embedded, Logger: log.NewNopLogger(),
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); f.Run(ctx) }()
	scrape := func(name, module string) {
		soon("a scrape of "+name, func() {
			s, err := f.Scrape(name, module)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Release()
			sel, err := s.Select(nil, nil)
			if err != nil {
				t.Error(err)
				return
			}
			limited, stop := context.WithTimeout(ctx, pgtest.Patience(5*time.Second))
			defer stop()
			if n := len(s.Gather(limited, sel)); n < 20 {
				t.Errorf("%d families of %s", n, name)
			}
		})
	}
	scrape("db2", "")
	scrape("db1", "") // it is watched all the same
	scrape(target(3).Address.String(), "m")
	scrape(target(4).Address.String(), "m")
	soon("the fleet's metrics", func() {
		registry := prometheus.NewRegistry()
		registry.MustRegister(f.Metrics())
		if _, err := registry.Gather(); err != nil {
			t.Error(err)
		}
	})
	soon("a reload", func() {
		moved := target(1)
		moved.Name, moved.Address.Database = "db1", "template1"
		prepared, err := f.Prepare(config(moved, target(2)), func() {})
		if err == nil {
			err = f.Apply(prepared, embedded)
		}
		if err != nil {
			t.Error(err)
		}
	})
	scrape("db2", "")
	soon("the end", func() { cancel(); <-ended })
}

// The file of an auth module hangs, here a pipe that somebody holds: who asks for a target with it is told so, and nobody else waits.
func TestAnAuthModuleThatHangsStopsNothingElse(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "password")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	held, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	f, err := New(Options{
		Config: &Config{AuthModules: map[string]AuthModule{"m": {User: "u", PasswordFile: pipe}}, MaxTargets: 10, Allow: []AllowRule{{
			Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Ports: []int{1}, Databases: []string{"d"}, AuthModules: []string{"m"},
		}}},
		PoolMin: 1, PoolMax: 4, Logger: log.NewNopLogger(),
	})
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error)
	go func() {
		_, err := f.Scrape("127.0.0.1:1/d", "m")
		answered <- err
	}()
	pgtest.Eventually(t, time.Second, func() error {
		if _, begun := f.reading.Load("m"); !begun {
			return errors.New("the file is not read yet")
		}
		return nil
	})
	f.Listed()
	select {
	case err := <-answered:
		t.Fatalf("the fleet's lock was held until %v", err)
	default:
	}
	if err := <-answered; err == nil {
		t.Error("a target without a password is watched")
	}
}
