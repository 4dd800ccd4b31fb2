package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

// Many servers, here many addresses of one, and a machine whose cores are all taken: neither the first start nor one with
// what an earlier run has left may count an outage of a server that was up all the time. $FLEET_TARGETS: 200 is what was reported;
// $FLEET_BUSY: as many who want a CPU there are for each (2).
func TestAFleetsStartOnAFullMachineCountsNoOutages(t *testing.T) {
	targets, _ := strconv.Atoi(os.Getenv("FLEET_TARGETS"))
	if targets == 0 {
		targets = 40
	}
	busy, _ := strconv.Atoi(os.Getenv("FLEET_BUSY"))
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"listen_addresses": "'*'", "max_connections": strconv.Itoa(6*targets + 20)}})
	if err := errors.Join(c.WriteHBA("local all all trust\nhost all all 127.0.0.0/8 scram-sha-256\n"), c.Reload()); err != nil {
		t.Fatal(err)
	}
	config := &Config{
		AuthModules: map[string]AuthModule{"m": {User: pgtest.Monitor, Password: pgtest.Password,
			Options: map[string]string{"sslmode": "disable"}}},
		MaxTargets: targets, IdleTimeout: time.Minute,
	}
	for i := range targets {
		config.Targets = append(config.Targets, TargetConfig{
			Name: fmt.Sprintf("db%d", i), AuthModule: "m",
			Address: Address{Host: fmt.Sprintf("127.0.%d.%d", i/250, 1+i%250), Port: c.Port, Database: "postgres"},
		})
	}
	embedded, err := collector.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	for range max(2, busy) * runtime.NumCPU() {
		go func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
	}
	dir := t.TempDir()
	for _, run := range []string{"first", "second"} {
		f, err := New(Options{
			Config: config, Settings: postgres.Settings{ApplicationName: "test", StatementTimeout: time.Second, LockTimeout: time.Second},
			PoolMin: 1, PoolMax: 4, StateDir: dir, Definitions: embedded, Logger: log.NewNopLogger(), Probe: probe.Options{},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.Run(ctx) }()
		pgtest.Eventually(t, 90*time.Second, func() error {
			for name, w := range f.byName {
				if s := w.Prober.Snapshot(); !s.Reached {
					return fmt.Errorf("%s is not reached: %s", name, s.Reason)
				}
			}
			return nil
		})
		time.Sleep(3 * time.Second)
		for name, w := range f.byName {
			if s := w.Prober.Snapshot(); s.Outages != 0 || !s.OutageStart.IsZero() {
				t.Errorf("%s run: %s has %d outages, its reason is %s", run, name, s.Outages, s.Reason)
			}
		}
		cancel()
		<-done
	}
}

func TestStartsAreSpreadByName(t *testing.T) {
	f := &Fleet{}
	const n = 200
	var early int
	for i := range n {
		name := fmt.Sprintf("db%d", i)
		at := f.startOf(name, n)
		if at != f.startOf(name, n) || at < 0 || at > n*startCost {
			t.Errorf("%s starts after %s", name, at)
		}
		if at < time.Second {
			early++
		}
	}
	if early > 2*n/int(n*startCost/time.Second) {
		t.Errorf("%d of %d start in the first second of %s", early, n, n*startCost)
	}
}
