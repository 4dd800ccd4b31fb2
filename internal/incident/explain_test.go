package incident

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/serverlog"
)

// TestExplainRecorded explains what real servers' incidents left (TestRealFaults, -update): with their log, and without it never
// wrongly.
func TestExplainRecorded(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	must(t, err)
	if len(files) != len(faults) {
		t.Fatalf("%d windows of %d faults are kept", len(files), len(faults))
	}
	for i, file := range files {
		data, err := os.ReadFile(file)
		must(t, err)
		var w Window
		must(t, json.Unmarshal(data, &w))
		fault := faults[i]
		if s := Explain(&w); s.Cause != fault.want || s.Sure != fault.sure || !strings.Contains(s.Sentence, fault.words) {
			t.Errorf("%s: %+v", file, s)
		}
		again := Explain(&w)
		if first := Explain(&w); first.Sentence != again.Sentence || len(first.Evidence) != len(again.Evidence) {
			t.Errorf("%s: told twice, it differs", file)
		}
		w.Log, w.LogFollowed, w.LogGrew = nil, false, time.Time{}
		s := Explain(&w)
		right := s.Cause == fault.want || s.Cause == Unknown || s.Cause == ServerCrash && fault.want == KilledBySignal
		if !right || s.Cause != fault.want && len(s.Missing) == 0 {
			t.Errorf("%s, without its log: %+v", file, s)
		}
	}
}

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// lines are a log; each begins with the seconds after noon.
func lines(text ...string) []serverlog.Event {
	var b strings.Builder
	for _, line := range text {
		seconds, rest, _ := strings.Cut(line, " ")
		d, err := time.ParseDuration(seconds)
		if err != nil {
			b.WriteString(line + "\n")
			continue
		}
		b.WriteString(noon.Add(d).Format("2006-01-02 15:04:05.000 MST") + " " + rest + "\n")
	}
	return serverlog.Parse("x.log", []byte(b.String()), serverlog.Settings{Prefix: "%m [%p] %q%u@%d/%a "}, noon)
}

// outage begins at noon.
func outage(reason postgres.Reason, seconds float64, log ...string) *Window {
	w := &Window{
		Kind: Outage, Reason: string(reason), Start: noon, End: noon.Add(time.Duration(seconds * float64(time.Second))), LogFollowed: true,
		Was: Server{StartTime: noon.Add(-time.Hour)}, Is: Server{StartTime: noon.Add(-time.Hour)}, Log: lines(log...),
	}
	for at := 0.0; at < seconds; at++ {
		w.Probes = append(w.Probes, Probe{At: noon.Add(time.Duration(at * float64(time.Second))), Probe: "read", Reason: string(reason),
			Error: "an error"})
	}
	return w
}

func with(w *Window, change func(*Window)) *Window { change(w); return w }

func TestExplain(t *testing.T) {
	restarted := func(w *Window) { w.Is.StartTime = w.End; w.Restarts = []string{"restart"} }
	for _, tc := range []struct {
		name string
		w    *Window
		want Cause
		sure Sureness
		says string
	}{
		{"the volume of WAL is full, as a server of 15 said it", outage(postgres.ShuttingDown, 30,
			"-1s [4918] me@db/psql PANIC:  could not write to file \"pg_wal/xlogtemp.4918\": No space left on device",
			"-1s [4918] me@db/psql STATEMENT:  create table t as select 1",
			"-1s [4749] LOG:  server process (PID 4918) was terminated by signal 6: Aborted",
			"-1s [4749] DETAIL:  Failed process was running: create table t as select 'x'",
			"-1s [4749] LOG:  terminating any other active server processes",
			"-1s [4749] LOG:  all server processes terminated; reinitializing",
		), DiskFull, Certain, "No space left on device"},
		{"a statement alone had no room, and the network is gone", with(outage(postgres.Timeout, 30,
			"-2s [4918] me@db/psql ERROR:  could not write to file \"base/pgsql_tmp/x\": No space left on device",
		), func(w *Window) {
			w.LogGrew = noon.Add(20 * time.Second)
			w.Probes[5].Error = "timeout: failed to connect: dial error: timeout"
		}), Network, Likely, ""},
		{"PANIC", outage(postgres.ShuttingDown, 5,
			"-1s [7] PANIC:  could not locate a valid checkpoint record", "-1s [1] LOG:  startup process (PID 7) was terminated by signal 6: "+
				"Aborted",
			"-1s [1] LOG:  terminating any other active server processes"), Panic, Certain, "could not locate a valid checkpoint record"},
		{"the disk failed", outage(postgres.ShuttingDown, 5, "-1s [7] PANIC:  could not fsync file \"base/5/16384\": Input/output error"),
			DiskFailed, Certain, "fsync"},
		{"the kernel had no memory left", with(outage(postgres.ShuttingDown, 5,
			"-1s [1] LOG:  server process (PID 7) was terminated by signal 9: Killed", "-1s [1] DETAIL:  Failed process was running: SELECT 'x'",
			"-1s [1] LOG:  terminating any other active server processes"),
			func(w *Window) {
				w.HostWatched = true
				w.Facts = []Fact{{At: noon, Kind: OOMKill, Name: "postgres (7)"}}
			}), OutOfMemory, Certain, "the kernel killed server process 7 while it ran: SELECT '?'"},
		{"the kernel killed somebody on the machine, and a process was killed", with(outage(postgres.ShuttingDown, 5,
			"-1s [1] LOG:  server process (PID 7) was terminated by signal 9: Killed",
			"-1s [1] LOG:  terminating any other active server processes"),
			func(w *Window) { w.Facts = []Fact{{At: noon, Kind: HostOOMKill}} }), OutOfMemory, Likely, "server process 7 was killed"},
		{"the kernel killed somebody on the machine, and a process crashed", with(outage(postgres.ShuttingDown, 5,
			"-1s [1] LOG:  server process (PID 7) was terminated by signal 11: Segmentation fault",
			"-1s [1] LOG:  terminating any other active server processes"),
			func(w *Window) { w.Facts = []Fact{{At: noon, Kind: HostOOMKill}} }), KilledBySignal, Certain, "signal 11"},
		{"the kernel killed somebody on the machine, and the server was restarted", with(outage(postgres.Refused, 5,
			"-1s [1] LOG:  received fast shutdown request", "2s [9] LOG:  database system is ready to accept connections"),
			func(w *Window) { w.Facts = []Fact{{At: noon, Kind: HostOOMKill}}; restarted(w) }), Restarted, Certain, "fast shutdown"},
		{"the container was killed, and nobody reads its log", with(outage(postgres.Timeout, 5), func(w *Window) {
			w.LogFollowed = false
			w.Facts = []Fact{{At: noon, Kind: Exited, Name: "the container db", Value: 137}}
			restarted(w)
		}), ServerKilled, Certain, "The container db was ended by signal 9 (SIGKILL)"},
		{"the container was told to end, and nobody reads its log", with(outage(postgres.Refused, 5), func(w *Window) {
			w.Facts = []Fact{{At: noon, Kind: Exited, Name: "the container db"}}
			restarted(w)
		}), Restarted, Likely, "in good order"},
		{"the container ended by itself", with(outage(postgres.Refused, 5), func(w *Window) {
			w.Facts = []Fact{{At: noon, Kind: Exited, Name: "the container db", Value: 1}}
		}), ServerCrash, Likely, "exit code 1"},
		{"the container had no memory left", with(outage(postgres.Refused, 5), func(w *Window) {
			w.Facts = []Fact{{At: noon, Kind: OOMKill, Name: "in the container db"}, {At: noon, Kind: Exited, Name: "the container db", Value: 137}}
			restarted(w)
		}), OutOfMemory, Certain, "the kernel killed"},
		{"its processes are stopped", with(outage(postgres.Timeout, 20), func(w *Window) {
			w.Facts = []Fact{{At: noon.Add(3 * time.Second), Kind: ProcessStopped, Name: "the postmaster (process 7)"}}
		}), Frozen, Certain, "the postmaster (process 7) was stopped"},
		{"the container was paused a while ago, and the password is wrong", with(outage(postgres.Auth, 20), func(w *Window) {
			w.Facts = []Fact{{At: noon.Add(-10 * time.Second), Kind: ProcessStopped}}
		}), LoginRefused, Certain, ""},
		{"the database is closed to the role", outage(postgres.Permission, 20), LoginRefused, Certain, "may not connect to this database"},
		{"it waits for its sessions to leave", outage(postgres.ShuttingDown, 20, "-1s [1] LOG:  received smart shutdown request"),
			Stopped, Certain, "until then it lets nobody in"},
		{"it waits for a disk", with(outage(postgres.Timeout, 20), func(w *Window) {
			w.Facts = []Fact{{At: noon.Add(3 * time.Second), Kind: ProcessWaits, Name: "the postmaster (process 7)"}}
		}), DiskStall, Likely, "waits for a disk"},
		{"the machine is busy, which proves nothing", with(outage(postgres.Timeout, 20), func(w *Window) {
			w.Facts = []Fact{{At: noon, Kind: CPUPressure, Value: 0.9}, {At: noon, Kind: Load, Value: 9}, {At: noon, Kind: HostOOMKill}}
		}), Unknown, NotSure, ""},
		{"it had no memory yesterday, and one was killed today", with(outage(postgres.ShuttingDown, 5,
			"-1s [1] LOG:  server process (PID 7) was terminated by signal 9: Killed",
			"-1s [1] LOG:  terminating any other active server processes"),
			func(w *Window) {
				w.HostWatched = true
				w.Facts = []Fact{{At: noon.Add(-50 * time.Second), Kind: OOMKill}}
			}), KilledBySignal, Certain, "SIGKILL"},
		{"a worker of no weight was ended before the network went", with(outage(postgres.DNS, 9,
			"-9s [1] LOG:  background worker \"x\" (PID 7) was terminated by signal 15: Terminated"), func(*Window) {}), NameLookup, Certain, ""},
		{"a backend left with a code", outage(postgres.ShuttingDown, 5,
			"-1s [1] LOG:  server process (PID 7) exited with exit code 2", "-1s [1] LOG:  terminating any other active server processes"),
			KilledBySignal, Certain, "exit code 2"},
		{"stopped, and not started again", with(outage(postgres.Refused, 60,
			"-1s [1] LOG:  received fast shutdown request", "-1s [1] LOG:  database system is shut down"), func(w *Window) { w.End = time.Time{} }),
			Stopped, Certain, "fast shutdown"},
		{"restarted, in German", with(outage(postgres.Refused, 4,
			"-1s [1] LOG:  schnelles Herunterfahren verlangt", "0s [1] LOG:  Datenbanksystem ist heruntergefahren",
			"3s [2] LOG:  Datenbanksystem ist bereit, um Verbindungen anzunehmen"), restarted), Restarted, Certain, "ready again 4.0 s later"},
		{"restarted long before", with(outage(postgres.Timeout, 4, "-55s [1] LOG:  received fast shutdown request",
			"-50s [1] LOG:  database system is ready to accept connections"), func(*Window) {}), Unknown, NotSure, ""},
		{"the machine lost its power", with(outage(postgres.Timeout, 90,
			"80s [2] LOG:  database system was interrupted; last known up at 2026-11-28 11:59:00 UTC",
			"80s [2] LOG:  database system was not properly shut down; automatic recovery in progress",
			"81s [2] LOG:  redo starts at 0/1500790", "88s [2] LOG:  redo done at 0/1500A58 system usage: CPU: user: 0.00 s, system: 0.00 s, "+
				"elapsed: 7.00 s",
			"89s [1] LOG:  database system is ready to accept connections"), restarted), ServerKilled, Likely, "without a shutdown"},
		{"the data directory was taken away", outage(postgres.Refused, 9, "-1s [1] LOG:  performing immediate shutdown because data directory "+
			"lock file is invalid"),
			DataDirectoryLost, Certain, ""},
		{"connections, and by whom", with(outage(postgres.TooManyConnections, 9, "1s [7] app@db/web FATAL:  sorry, too many clients already"),
			func(w *Window) {
				w.Samples = []Sample{{At: noon.Add(-time.Second), Used: 100, Max: 100, ByUser: map[string]int{"app": 93, "me": 7}}}
			}), ConnectionsExhausted, Certain, "100 of 100, 93 of them by app"},
		{"a queue of locks", with(outage(postgres.Timeout, 9), func(w *Window) {
			w.Samples = []Sample{{At: noon.Add(time.Second), Blocked: 8, Blockers: []Blocker{
				{PID: 7, User: "app", Application: "migrate", State: "idle in transaction", Seconds: 75, Blocks: 8, Logins: 3,
					Wait: "Client:ClientRead", Statement: "LOCK TABLE pg_authid"},
			}}}
		}), LockQueue, Certain, "8 sessions wait (3 of them logging in) behind process 7 of app (migrate), idle in transaction, its " +
			"transaction 1 min 15 s old, waiting for its client: LOCK TABLE pg_authid"},
		{"our own reads wait behind somebody", with(outage(postgres.Timeout, 9), func(w *Window) {
			w.Samples = []Sample{{At: noon.Add(time.Second), Blocked: 1, Blockers: []Blocker{{PID: 7, State: "active", Wait: "IO:DataFileRead",
				Blocks: 1, Ours: 1}}}}
		}), LockQueue, Likely, "one session waits behind process 7, active, its transaction 0 ms old, waiting for IO:DataFileRead."},
		{"reads that were slow waited behind somebody", with(outage(postgres.OK, 9), func(w *Window) {
			w.Kind, w.Reason = Stall, "stalled"
			w.Samples = []Sample{{At: noon.Add(time.Second), Blocked: 3, Blockers: []Blocker{
				{PID: 7, User: "app", State: "active", Seconds: 3, Blocks: 3, Ours: 1, Statement: "VACUUM FULL pg_class"}}}}
		}), LockQueue, Likely, "3 sessions wait behind process 7 of app, active, its transaction 3.0 s old: VACUUM FULL pg_class."},
		{"reads were slow, while others waited for each other", with(outage(postgres.OK, 9), func(w *Window) {
			w.Kind, w.Reason = Stall, "stalled"
			w.Samples = []Sample{{At: noon.Add(time.Second), Blocked: 3, Blockers: []Blocker{{PID: 7, Blocks: 3}}}}
		}), Unknown, NotSure, "Why reads were slow is not known."},
		{"others wait for a lock, and the server is silent", with(outage(postgres.Timeout, 9), func(w *Window) {
			w.Samples = []Sample{{At: noon.Add(-time.Second), Blocked: 8, Blockers: []Blocker{{PID: 7, Blocks: 8}}}}
		}), Unknown, NotSure, ""},
		{"others wait for a lock, and the server was restarted", with(outage(postgres.Refused, 9), func(w *Window) {
			restarted(w)
			w.Samples = []Sample{{At: noon.Add(-time.Second), Blocked: 8, Blockers: []Blocker{{PID: 7, Blocks: 8}}}}
		}), Unknown, NotSure, "started again"},
		{"a checkpoint's fsync", with(outage(postgres.Timeout, 9,
			"8s [3] LOG:  checkpoint complete: wrote 9000 buffers (1.0%); 0 WAL file(s) added, 0 removed, 1 recycled; write=1.0 s, sync=9.250 s, "+
				"total=11.000 s; sync files=9, longest=8.000 s, average=1.000 s; distance=1 kB, estimate=1 kB"),
			func(w *Window) { w.Kind = Stall }), CheckpointStall, Likely, "9.2 s"},
		{"a checkpoint as always", outage(postgres.Timeout, 9,
			"8s [3] LOG:  checkpoint complete: wrote 9 buffers (0.0%); 0 WAL file(s) added, 0 removed, 0 recycled; write=1.0 s, sync=0.002 s, "+
				"total=1.010 s; sync files=9, longest=0.001 s, average=0.001 s; distance=1 kB, estimate=1 kB"),
			Unknown, NotSure, ""},
		{"a failover", with(outage(postgres.Timeout, 9), func(w *Window) {
			w.Restarts, w.Is = []string{"failover"}, Server{StartTime: noon.Add(-2 * time.Hour), Role: "primary"}
		}), FailedOver, Certain, "another server"},
		{"a promotion", with(outage(postgres.Query, 1, "-1s [1] LOG:  received promote request"),
			func(w *Window) { w.Restarts = []string{"promotion"} }),
			Promoted, Certain, ""},
		{"it answers late, and goes on for others", with(outage(postgres.Timeout, 9), func(w *Window) { w.LogGrew = noon.Add(8 * time.Second) }),
			Unknown, NotSure, ""},
		{"connections are refused for a moment, and the server ran all the time", with(outage(postgres.Refused, 1), func(w *Window) {
			w.LogFollowed = false
			w.Probes[0].Error = "dial error: connection refused"
		}), Network, Likely, "the server ran on, and no connection to it could be made"},
		{"connections are refused, and the server is another run", with(outage(postgres.Refused, 1), func(w *Window) {
			w.Is.StartTime, w.Probes[0].Error = noon, "dial error: connection refused"
		}), Unknown, NotSure, ""},
		{"a login that was cut, and then pg_hba.conf", with(outage(postgres.Refused, 3), func(w *Window) {
			w.Probes[1].Reason, w.Probes[2].Reason = string(postgres.PgHBA), string(postgres.PgHBA)
		}), AccessChanged, Certain, "pg_hba.conf"},
		{"pg_hba.conf, and its repair", outage(postgres.PgHBA, 4, "-2s [1] LOG:  received SIGHUP, reloading configuration files",
			"4s [1] LOG:  received SIGHUP, reloading configuration files"), AccessChanged, Certain, "reloaded 2.0 s before."},
		{"the network, and one wrong password", with(outage(postgres.Timeout, 9), func(w *Window) {
			w.Probes[8].Reason = string(postgres.Auth)
		}), Unknown, NotSure, ""},
		{"nobody listens while it goes on, and who knows what is there", with(outage(postgres.Refused, 9), func(w *Window) {
			w.LogGrew, w.Is, w.End = noon.Add(8*time.Second), Server{}, time.Time{}
			w.Probes[3].Error = "dial error: connection refused"
		}), Unknown, NotSure, ""},
	} {
		s := Explain(tc.w)
		if s.Cause != tc.want || s.Sure != tc.sure || !strings.Contains(s.Sentence, tc.says) {
			t.Errorf("%s: %s, %s: %s", tc.name, s.Cause, s.Sure, s.Sentence)
		}
		if !slices.Contains(Causes(), s.Cause) {
			t.Errorf("%s: %s is not listed", tc.name, s.Cause)
		}
		if s.Evidence == nil || s.Also == nil || s.Missing == nil || s.Cause == Unknown && len(s.Missing) == 0 {
			t.Errorf("%s: %+v", tc.name, s)
		}
		if !slices.IsSortedFunc(s.Evidence, func(a, b Evidence) int { return a.At.Compare(b.At) }) {
			t.Errorf("%s: the evidence is not in order", tc.name)
		}
	}
}

// TestRecoveryHasItsShare says how much of an outage was the server's recovery.
func TestRecoveryHasItsShare(t *testing.T) {
	s := Explain(outage(postgres.ShuttingDown, 10,
		"-1s [1] LOG:  server process (PID 7) was terminated by signal 9: Killed", "-1s [1] LOG:  terminating any other active server processes",
		"0s [1] LOG:  all server processes terminated; reinitializing", "1s [2] LOG:  database system was interrupted; last known up at "+
			"2026-11-28 11:59:00 UTC",
		"1s [2] LOG:  redo starts at 0/1500790", "8s [2] LOG:  redo done at 0/1500A58 system usage: CPU",
		"9s [1] LOG:  database system is ready to accept connections"))
	if want := "crash recovery took 8.0 s of the 10 s (redo 7.0 s)"; !slices.Contains(s.Also, want) {
		t.Errorf("%q", s.Also)
	}
}

// TestEvidenceIsShownOnce reads twice within a millisecond, with the same failure, and cites it once.
func TestEvidenceIsShownOnce(t *testing.T) {
	w := outage(postgres.StartingUp, 2)
	w.Restarts, w.LogFollowed = []string{"crash"}, false
	failure := w.Probes[slices.IndexFunc(w.Probes, func(p Probe) bool { return p.Reason == string(postgres.StartingUp) })]
	again := failure
	again.At = again.At.Add(200 * time.Microsecond)
	w.Probes = slices.Insert(w.Probes, 1, again)
	seen := map[string]int{}
	for _, e := range Explain(w).Evidence {
		seen[e.Text+e.At.Truncate(time.Millisecond).String()]++
	}
	if len(seen) != 3 {
		t.Errorf("a failure at 0 s, one at 1 s and the crash should be cited: %v", seen)
	}
	for text, n := range seen {
		if n > 1 {
			t.Errorf("%d times: %s", n, text)
		}
	}
}

// FuzzExplain gives it windows that a file or a log could make: it must tell a story of any.
func FuzzExplain(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.json")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var w Window
		if json.Unmarshal(data, &w) != nil {
			return
		}
		if s := Explain(&w); s.Sentence == "" || len(s.Evidence) > maxEvidence || !slices.Contains(Causes(), s.Cause) {
			t.Errorf("%+v", s)
		}
	})
}
