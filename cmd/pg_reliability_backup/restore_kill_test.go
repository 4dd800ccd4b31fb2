package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// moments is how many random moments each of these tests tries: 20 with PG_RELIABILITY_LONG=1.
func moments() int {
	if long() {
		return 20
	}
	return 2
}

// atRandom starts a command, does something to it or its server at a random moment of the time it usually takes, and
// waits for its end.
func (b *bench) atRandom(random *rand.Rand, usual time.Duration, fault func(kill func()), args ...string) (moment time.Duration,
	out string) {
	b.t.Helper()
	cmd := b.cmd(args...)
	var buf bytes.Buffer
	cmd.Stdout, cmd.Stderr = &buf, &buf
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	moment = time.Duration(random.Int64N(int64(usual) * 11 / 10))
	time.Sleep(moment)
	fault(func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait()
	return moment, buf.String()
}

// serves says what database shop holds; "" when there is none.
func (b *bench) serves() string {
	b.t.Helper()
	var got string
	pgtest.Eventually(b.t, 30*time.Second, func() error {
		n, err := b.pg.Query(b.t.Context(), "postgres", "SELECT count(*) FROM pg_database WHERE datname = 'shop'")
		if err != nil || n == "0" {
			got = ""
			return err
		}
		got, err = b.pg.Query(b.t.Context(), "shop", "SELECT (SELECT count(*) FROM item) || ' ' || (SELECT count(*) FROM noise)")
		return err
	})
	return got
}

// leftovers are the half-made databases on the server.
func (b *bench) leftovers() string {
	b.t.Helper()
	got, err := b.pg.Query(b.t.Context(), "postgres",
		`SELECT coalesce(string_agg(datname, ' '), '') FROM pg_database WHERE datname LIKE 'pg\_reliability\_restore\_%'`)
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

func seeded(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// Whatever happens to a restore, the database serves, the one of before or the new one, whole; and the next restore
// leaves nothing of ours behind.
func TestRestoreKilledAtRandomMomentsTheOriginalServes(t *testing.T) {
	b := newBench(t)
	b.fill(3)
	b.run()
	s := b.super()
	began := time.Now()
	s.must("restore", "--database", "shop", "--drop-old")
	usual := time.Since(began)
	random := seeded(t)
	for name, fault := range map[string]func(kill func()){
		"killed": func(kill func()) { kill() },
		"server restarted": func(func()) {
			if err := b.pg.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"server killed": func(func()) {
			b.pg.KillServer()
			if err := b.pg.Launch(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		left := 0
		for range moments() {
			moment, out := s.atRandom(random, usual, fault, "restore", "--database", "shop", "--drop-old")
			if got := b.serves(); got != "2000 3000" {
				t.Errorf("%s after %s: shop holds %q\n%s", name, moment, got, out)
			}
			if b.leftovers() != "" {
				left++
			}
			s.must("restore", "--database", "shop", "--drop-old")
			if got := b.leftovers(); got != "" {
				t.Errorf("%s after %s: the next restore leaves %s", name, moment, got)
			}
		}
		t.Logf("%s at %d moments of %s: %d left something for the next one to remove", name, moments(), usual, left)
	}
	if got := b.serves(); got != "2000 3000" {
		t.Errorf("shop holds %q", got)
	}
}

// Whatever happens to a bootstrap, nothing half is served, and the next one completes it and leaves nothing behind.
func TestBootstrapKilledAtRandomMomentsNothingHalfServes(t *testing.T) {
	b := newBench(t)
	b.fill(3)
	b.run()
	b.destroy()
	began := time.Now()
	b.bootstrapJSON()
	usual := time.Since(began)
	random := seeded(t)
	for name, fault := range map[string]func(kill func()){
		"killed": func(kill func()) { kill() },
		"server restarted": func(func()) {
			if err := b.pg.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"server killed": func(func()) {
			b.pg.KillServer()
			if err := b.pg.Launch(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		served := map[string]int{}
		for range moments() {
			b.destroy()
			moment, out := b.super().atRandom(random, usual, fault, "bootstrap")
			got := b.serves()
			if got != "" && got != "2000 3000" {
				t.Errorf("%s after %s: shop holds %q\n%s", name, moment, got, out)
			}
			served[got]++
			o, _ := b.bootstrapJSON()
			if want := map[bool]string{true: restore.Restored, false: restore.HadData}[got == ""]; o.Result != want {
				t.Errorf("%s after %s: the next bootstrap: %+v, want %s", name, moment, o, want)
			}
			if got := b.serves(); got != "2000 3000" {
				t.Errorf("%s after %s: after the next bootstrap shop holds %q", name, moment, got)
			}
			if got := b.leftovers(); got != "" && o.Result == restore.Restored {
				t.Errorf("%s after %s: the next bootstrap leaves %s", name, moment, got)
			}
		}
		t.Logf("%s at %d moments of %s: %s", name, moments(), usual, strings.TrimPrefix(fmt.Sprint(served), "map"))
	}
}
