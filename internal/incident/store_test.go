package incident

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/serverlog"
)

func window(i int) Window {
	start := noon.Add(time.Duration(i) * time.Minute)
	return Window{Version: windowVersion, ID: newID(start, Outage), Kind: Outage, Target: "db", Start: start, End: start.Add(time.Second)}
}

func TestStoreKeepsTheNewest(t *testing.T) {
	dir := t.TempDir()
	st := newStore(dir, "db", log.NewNopLogger())
	st.goOn()
	for i := range MaxKept + 5 {
		st.keep(window(i))
	}
	files, _ := filepath.Glob(filepath.Join(dir, directory, "*"))
	if len(files) != MaxKept || len(st.summaries()) != MaxKept || st.summaries()[0].ID != window(MaxKept+4).ID {
		t.Errorf("%d files, %d summaries", len(files), len(st.summaries()))
	}
	big := window(1000)
	big.Log = make([]serverlog.Event, 1000)
	for i := range big.Log {
		big.Log[i].Message = strings.Repeat("x", 3000)
	}
	for i := range 10 {
		big.ID = newID(noon.Add(time.Duration(1000+i)*time.Minute), Outage)
		st.keep(big)
	}
	if n := len(st.summaries()); n > 6 {
		t.Errorf("%d large windows are kept", n)
	}

	// Another run finds them; what is none of its is left alone.
	for name, text := range map[string]string{
		"20260101T000000.000Z-outage.json": "{", "20260101T000001.000Z-outage.json": `{"version":1,"id":"x"}`, "note.txt": "mine",
		"20260101T000002.000Z-outage.json": `{"version":1,"id":"20260101T000002.000Z-outage","target":"another"}`,
		"20260101T000003.000Z-outage.json": `{"version":1,"id":"20260101T000003.000Z-outage","target":"another"}`,
	} {
		must(t, os.WriteFile(filepath.Join(dir, directory, name), []byte(text), 0o600))
	}
	var said strings.Builder
	again := newStore(dir, "db", log.NewLogfmtLogger(&said))
	again.load()
	if text := said.String(); strings.Count(text, "of another server") != 1 || !strings.Contains(text, "count=2") {
		t.Errorf("of another server's incidents it says, once for both: %s", text)
	}
	again.goOn()
	if fmt.Sprint(again.summaries()) != fmt.Sprint(st.summaries()) {
		t.Errorf("%v, and not %v", again.summaries(), st.summaries())
	}
	for _, id := range []string{"", "../../etc/passwd", "20260101T000000.000Z-outage", "20260101T000002.000Z-outage",
		"20260101T000000.000Z-outage/../x"} {
		if _, ok := again.window(id); ok {
			t.Errorf("%q is an incident", id)
		}
	}
	if w, ok := again.window(big.ID); !ok || len(w.Log) != 1000 {
		t.Error("a window that was kept can't be read")
	}
}

// recording is a recorder with a clock of the test's.
type recording struct {
	*Recorder
	at       time.Time
	snapshot probe.Snapshot
}

func newRecording(dir string) *recording {
	r := &recording{Recorder: NewRecorder(Options{Dir: dir, Target: "db", Logger: log.NewNopLogger()}), at: noon}
	r.now = func() time.Time { return r.at }
	r.snapshot = probe.Snapshot{Loaded: true, Restarts: map[probe.RestartKind]uint64{}, LastRestart: map[probe.RestartKind]time.Time{}}
	r.store.load()
	r.store.goOn()
	return r
}

// read is a probe of a second.
func (r *recording) read(reason postgres.Reason, stalled time.Duration) {
	r.at = r.at.Add(time.Second)
	switch {
	case reason != postgres.OK && r.snapshot.OutageStart.IsZero():
		r.snapshot.OutageStart, r.snapshot.LastOutageStart = r.at, r.at
	case reason == postgres.OK && !r.snapshot.OutageStart.IsZero():
		r.snapshot.OutageStart, r.snapshot.LastOutageEnd = time.Time{}, r.at
	}
	r.snapshot.Reason = reason
	r.Outcome(probe.Outcome{Kind: probe.Read, Started: r.at.Add(-stalled), Ended: r.at, Reason: reason, Stalled: stalled}, r.snapshot)
	r.save(r.at, false)
}

func (r *recording) reads(n int, reason postgres.Reason) {
	for range n {
		r.read(reason, 0)
	}
}

func TestRecorder(t *testing.T) {
	dir := t.TempDir()
	r := newRecording(dir)
	r.reads(300, postgres.OK)
	r.reads(5, postgres.Refused)
	if list := r.List(); len(list) != 1 || !list[0].End.IsZero() || list[0].Reason != "refused" {
		t.Fatalf("in an outage there is %+v", list)
	}
	r.reads(100, postgres.OK)
	w, _, ok := r.Get(r.List()[0].ID)
	if !ok || w.Seconds(r.at) != 5 || len(r.active) != 0 {
		t.Errorf("%v, %g s, %d active", ok, w.Seconds(r.at), len(r.active))
	}
	if n := len(w.Probes); n < 90 || n > 99 { // a minute before, five seconds, and half a minute
		t.Errorf("%d probes are kept", n)
	}

	// A stall that matters, and one that does not.
	r.read(postgres.OK, 700*time.Millisecond)
	r.reads(10, postgres.OK)
	if n := len(r.List()); n != 1 {
		t.Errorf("%d incidents after a short stall", n)
	}
	for range 4 {
		r.read(postgres.OK, 700*time.Millisecond)
		r.read(postgres.OK, 0)
	}
	r.reads(40, postgres.OK)
	if list := r.List(); len(list) != 2 || list[0].Kind != Stall || list[0].End.IsZero() {
		t.Errorf("after a stall there is %+v", list)
	}

	// A crash that no probe met.
	r.snapshot.Restarts = map[probe.RestartKind]uint64{probe.Crash: 1}
	r.snapshot.LastRestart = map[probe.RestartKind]time.Time{probe.Crash: r.at}
	r.reads(40, postgres.OK)
	if list := r.List(); len(list) != 3 || list[0].Kind != Crash || list[0].Cause != ServerCrash {
		t.Errorf("after a crash there is %+v", list)
	}
}

// TestRecorderIsBounded: a long outage, with a log that goes mad, keeps what tells.
func TestRecorderIsBounded(t *testing.T) {
	r := newRecording(t.TempDir())
	r.reads(60, postgres.OK)
	for i := range 1500 {
		r.read(postgres.Refused, 0)
		for range 5 {
			r.Log(serverlog.Event{At: r.at, Severity: "fatal", Kind: serverlog.StartingUp, Message: "x"})
		}
		if i == 1000 {
			r.Log(serverlog.Event{At: r.at, Severity: "log", Kind: serverlog.FastShutdown, Message: "asked to stop"})
		}
	}
	r.read(postgres.OK, 0)
	w, s, _ := r.Get(r.List()[0].ID)
	if len(w.Probes) > maxProbes || len(w.Log) > maxLog || w.LeftOut == 0 || w.Probes[len(w.Probes)-1].At.Before(noon.Add(20*time.Minute)) {
		t.Errorf("%d probes, %d lines, %d left out", len(w.Probes), len(w.Log), w.LeftOut)
	}
	if s.Cause != Stopped {
		t.Errorf("%+v", s)
	}
	for range 20 { // a server that flaps
		r.reads(2, postgres.Refused)
		r.reads(2, postgres.OK)
	}
	if list := r.List(); len(r.active) > maxActive || r.missed != 0 || len(list) != 21 {
		t.Errorf("%d are in the making, %d were missed, %d are told", len(r.active), r.missed, len(list))
	}
	for i, is := range r.List() {
		w, _, ok := r.Get(is.ID)
		last := slices.MaxFunc(w.Probes, func(a, b Probe) int { return a.At.Compare(b.At) })
		if !ok || w.End.IsZero() || i > maxActive && last.At.Before(w.End.Add(8*time.Second)) {
			t.Errorf("incident %d is kept until %s, and ended at %s", i, last.At, w.End)
		}
	}
	for range 3 * maxActive { // faster than it is written
		r.Outcome(probe.Outcome{Kind: probe.Read, Ended: r.at, Reason: postgres.Refused}, probe.Snapshot{OutageStart: r.at})
		r.at = r.at.Add(10 * time.Millisecond)
		r.Outcome(probe.Outcome{Kind: probe.Read, Ended: r.at, Reason: postgres.OK}, probe.Snapshot{LastOutageEnd: r.at})
	}
	if len(r.active) > 2*maxActive || r.missed == 0 {
		t.Errorf("%d are in the making, %d were missed", len(r.active), r.missed)
	}
}

// TestRecorderGoesOn: an outage that our own restart falls into is one incident; one that ended meanwhile has an end.
func TestRecorderGoesOn(t *testing.T) {
	dir := t.TempDir()
	r := newRecording(dir)
	r.reads(5, postgres.OK)
	r.reads(5, postgres.Refused)
	r.save(r.at, true)
	again := newRecording(dir)
	again.at, again.snapshot = r.at.Add(time.Minute), r.snapshot
	again.reads(5, postgres.Refused)
	again.reads(2, postgres.OK)
	list := again.List()
	if len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	if w, _, _ := again.Get(list[0].ID); len(w.Probes) < 15 || w.End.IsZero() || !w.Start.Equal(r.snapshot.OutageStart) {
		t.Errorf("%d probes are kept, until %s", len(w.Probes), w.End)
	}
	third := newRecording(dir) // killed before: what is on the disk goes on
	third.at = r.at.Add(time.Hour)
	third.reads(3, postgres.OK)
	if list := third.List(); len(list) != 1 || list[0].End.IsZero() {
		t.Errorf("%+v", list)
	}
}

// A file in the place of the state directory is told by the store of the counts; one in the place of incidents/ by this one.
func TestAFileInThePlaceOfTheDirectoryIsToldOnce(t *testing.T) {
	for _, name := range []string{"state", filepath.Join("state", directory)} {
		root := t.TempDir()
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		newStore(filepath.Join(root, "state"), "db", log.NewLogfmtLogger(&out)).load()
		if told := out.Len() > 0; told != (name != "state") {
			t.Errorf("a file at %s: %q", name, out.String())
		}
	}
}
