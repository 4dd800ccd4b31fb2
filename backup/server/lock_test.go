package server_test

import (
	"cmp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestALockOfSomebodyWhoCanMakeNoBackupKeepsNobodyOut: any login role can take any advisory lock.
func TestALockOfSomebodyWhoCanMakeNoBackupKeepsNobodyOut(t *testing.T) {
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	login := " LOGIN PASSWORD '" + pgtest.Password + "' "
	if err := pg.Exec(t.Context(), `CREATE ROLE mallory`+login, `CREATE ROLE owner`+login, `CREATE ROLE other`+login+`SUPERUSER`,
		`CREATE ROLE job`+login+`IN ROLE pg_read_all_data`, `CREATE ROLE reader`+login+`IN ROLE job`); err != nil {
		t.Fatal(err)
	}
	target := func(role string) server.Target {
		target, err := server.Parse(pg.DSN(role, "postgres"), nil)
		if err != nil {
			t.Fatal(err)
		}
		return target
	}
	const main, side = "(8099568234784776555)", "(1885827699, 7)" // "pgrelbak"; "pgrs", and a number
	for name, tc := range map[string]struct {
		role, key string
		as        string // the job's role; "" is job
		out       bool
	}{
		"a login role":              {role: "mallory", key: main},
		"a login role, shared":      {role: "mallory", key: "_shared" + main},
		"a login role, the other":   {role: "mallory", key: side},
		"the job's own role":        {role: "owner", key: main, as: "owner", out: true},
		"a superuser":               {role: "other", key: main, out: true},
		"who may read everything":   {role: "reader", key: main, out: true},
		"a job that took the other": {role: "reader", key: side, out: true},
	} {
		t.Run(name, func(t *testing.T) {
			thief, err := target(tc.role).Connect(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			defer thief.Close(t.Context())
			if _, err := thief.Exec(t.Context(), "SELECT pg_advisory_lock"+tc.key); err != nil {
				t.Fatal(err)
			}
			lock, err := server.TakeLock(t.Context(), target(cmp.Or(tc.as, "job")))
			if tc.out {
				if failure.Of(err) != failure.Locked || !strings.Contains(err.Error(), "role "+tc.role+", process ") {
					t.Fatalf("the job was not kept out: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatalf("the job was kept out: %v", err)
			}
			if note := lock.Note(); strings.Contains(note, "role mallory, process ") != (tc.key != side) {
				t.Errorf("the note is %q", note)
			}
			// And this job keeps out the next, whether or not the thief is still there.
			for _, still := range []bool{true, false} {
				if !still {
					_, _ = thief.Exec(t.Context(), "SELECT pg_advisory_unlock_all()")
				}
				if _, err := server.TakeLock(t.Context(), target("reader")); failure.Of(err) != failure.Locked {
					t.Errorf("two jobs work at once (thief there: %t): %v", still, err)
				}
			}
			lock.Release()
			next, err := server.TakeLock(t.Context(), target("reader"))
			if err != nil {
				t.Fatalf("the lock was not given back: %v", err)
			}
			next.Release()
		})
	}
}

// TestOneJobAtATimeWhileSomebodyElseHasTheLock: many at once, and the thief comes and goes.
func TestOneJobAtATimeWhileSomebodyElseHasTheLock(t *testing.T) {
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	if err := pg.Exec(t.Context(), `CREATE ROLE mallory LOGIN PASSWORD '`+pgtest.Password+`'`); err != nil {
		t.Fatal(err)
	}
	target, err := server.Parse(pg.DSN(pgtest.Superuser, "postgres"), nil)
	if err != nil {
		t.Fatal(err)
	}
	mallory, err := server.Parse(pg.DSN("mallory", "postgres"), nil)
	if err != nil {
		t.Fatal(err)
	}
	thief, err := mallory.Connect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close(t.Context())
	var working, had sync.Mutex
	var taken int
	var jobs sync.WaitGroup
	for range 4 {
		jobs.Go(func() {
			for range 4 {
				lock, err := server.TakeLock(t.Context(), target)
				if err != nil {
					if failure.Of(err) != failure.Locked {
						t.Error(err)
					}
					continue
				}
				if !working.TryLock() {
					t.Error("two jobs work at once")
				} else {
					time.Sleep(time.Millisecond) // work
					working.Unlock()
				}
				lock.Release()
				had.Lock()
				taken++
				had.Unlock()
			}
		})
	}
	done := make(chan struct{})
	go func() { jobs.Wait(); close(done) }()
	for held := false; ; held = !held {
		do := "SELECT pg_try_advisory_lock(8099568234784776555)"
		if held {
			do = "SELECT pg_advisory_unlock_all()"
		}
		if _, err := thief.Exec(t.Context(), do); err != nil {
			t.Error(err)
		}
		select {
		case <-done:
			if taken == 0 {
				t.Error("nobody got the lock")
			}
			return
		case <-time.After(3 * time.Millisecond):
		}
	}
}
