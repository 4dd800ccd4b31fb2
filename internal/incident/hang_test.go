package incident

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

// TestADirectoryThatHangs has a FIFO among the incidents, which stands for a disk that does not answer: what happens meanwhile is
// shown, the log says so, the end is not held up, and once the disk answers all is written.
func TestADirectoryThatHangs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, directory), 0o750))
	fifo := filepath.Join(dir, directory, "20260101T000000.000Z-outage.json")
	must(t, syscall.Mkfifo(fifo, 0o600))
	start := func(out *pgtest.Buffer) (r *Recorder, stop func()) {
		r = NewRecorder(Options{Dir: dir, Target: "db", Logger: log.NewLogfmtLogger(out)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		return r, func() {
			cancel()
			select {
			case <-done:
			case <-time.After(pgtest.Patience(stopTimeout + 5*time.Second)):
				t.Fatal("the disk holds up the end")
			}
		}
	}
	var out pgtest.Buffer
	r, stop := start(&out)
	at := time.Now().Add(-time.Minute)
	snapshot := probe.Snapshot{Loaded: true}
	tell := func(reason postgres.Reason, at time.Time) {
		r.Outcome(probe.Outcome{Kind: probe.Read, Reason: reason, Started: at, Ended: at}, snapshot)
	}
	tell(postgres.OK, at)
	snapshot.OutageStart, snapshot.Reason = at.Add(time.Second), postgres.Refused
	tell(postgres.Refused, at.Add(time.Second))
	snapshot.LastOutageEnd, snapshot.OutageStart = at.Add(2*time.Second), time.Time{}
	tell(postgres.OK, at.Add(2*time.Second))
	until(t, "the log says that the disk hangs", func() bool { return strings.Contains(out.String(), "does not answer") })
	until(t, "the incident is closed and held", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.active) == 0
	})
	list := r.List()
	if len(list) != 1 {
		t.Fatalf("%d incidents are shown", len(list))
	}
	if _, _, ok := r.Get(list[0].ID); !ok {
		t.Error("its page is not there")
	}
	f, err := os.OpenFile(fifo, os.O_WRONLY, 0) // now it answers
	must(t, err)
	must(t, f.Close())
	until(t, "it is written", func() bool {
		_, err := os.Stat(filepath.Join(dir, directory, list[0].ID+".json"))
		return err == nil
	})
	stop()
	_, stop = start(&pgtest.Buffer{}) // the FIFO hangs anew
	stop()
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(pgtest.Patience(20 * time.Second)); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}
