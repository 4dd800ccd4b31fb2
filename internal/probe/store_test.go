package probe

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

const target = "db1:5432/shop"

// keep opens a store that is closed at the test's end.
func keep(t *testing.T, dir, target string) (*store, *state, *pgtest.Buffer) {
	t.Helper()
	var out pgtest.Buffer
	st := newStore(dir, target, log.NewLogfmtLogger(&out))
	opened := make(chan *state)
	go st.run(func(s *state, _ *history) { opened <- s }, newHistory(time.Minute))
	return st, <-opened, &out
}

func lived() *state {
	s := newState()
	s.observe(o(Read, 0, 0, postgres.OK))
	s.observe(o(Read, 1, 1, postgres.Refused))
	s.observe(o(Read, 4, 4, postgres.OK))
	restarted := o(Read, 5, 5, postgres.OK)
	restarted.Server.StartTime = at(3)
	s.observe(restarted)
	s.observeContainer(container{"c", 3, at(3), false}, at(5))
	return s
}

func TestTheStateOutlivesTheExporter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "for", "us")
	st, _, _ := keep(t, dir, target)
	for range 100 { // the newest wins, and nobody waits
		st.save(newState(), time.Now())
	}
	st.save(lived(), time.Now())
	st.stop(true, time.Second)

	rest := filepath.Join(dir, ".state.json.tmp-123")
	if err := os.WriteFile(rest, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	st, got, out := keep(t, dir, target)
	defer st.stop(true, time.Second)
	want := lived()
	if g, w := encoded(t, got), encoded(t, want); g != w {
		t.Errorf("read back:\n%s\nwant:\n%s", g, w)
	}
	if got.Identity != want.Identity {
		t.Errorf("identity = %+v, want %+v, fit for ==", got.Identity, want.Identity)
	}
	if kinds := got.Identity.changes(want.Identity); kinds != nil {
		t.Errorf("the server that was kept differs from itself: %v", kinds)
	}
	if s := st.read(); s.persistence != persistenceOK || out.String() != "" {
		t.Errorf("store = %+v, log %s; want ok and silence", s, out)
	}
	if _, err := os.Stat(rest); !errors.Is(err, os.ErrNotExist) {
		t.Error("what a killed run left behind is still there")
	}
}

// The state is read in less time than a login takes.
func TestAStateThatIsReadBeforeTheFirstProbeSaysNothingOfTheServer(t *testing.T) {
	for name, kept := range map[string]*state{"a new one": newState(), "a good one": lived()} {
		t.Run(name, func(t *testing.T) {
			o := quick(connectTo(t, "postgres://u@127.0.0.1:1/d?sslmode=disable"))
			o.StateDir = t.TempDir()
			p := prepare(t, o)
			encodedState, err := encodeState(kept, o.Target, at(9))
			must(t, err)
			fromFile, _, err := decodeState(encodedState, o.Target)
			must(t, err)
			p.restore(fromFile, newHistory(time.Minute))
			if s := p.log.String(); s != "" {
				t.Errorf("nothing was asked yet, and the log says %s", s)
			}
		})
	}
}

func encoded(t *testing.T, s *state) string {
	t.Helper()
	data, err := encodeState(s, target, at(0))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestAFileThatCantBeUsedIsSetAside(t *testing.T) {
	good := encoded(t, lived())
	for name, tc := range map[string]struct {
		content string
		why     setAside
		as, log string
	}{
		"empty":      {"", asideCorrupt, "corrupt", "not a state file"},
		"cut":        {good[:len(good)/2], asideCorrupt, "corrupt", "not a state file"},
		"zeros":      {strings.Repeat("\x00", 100), asideCorrupt, "corrupt", "not a state file"},
		"other JSON": {`{"a": 1}`, asideCorrupt, "corrupt", "no version"},
		"no state": {`{"version": 1, "target": "` + target + `", "state": {"restarts": null}}`, asideCorrupt, "corrupt",
			"a part is missing"},
		"wrong type":        {strings.Replace(good, `"restart": 1`, `"restart": "x"`, 1), asideCorrupt, "corrupt", "not a state file"},
		"negative count":    {strings.Replace(good, `"restart": 1`, `"restart": -1`, 1), asideCorrupt, "corrupt", "not a state file"},
		"negative downtime": {strings.Replace(good, `"refused": 3`, `"refused": -3`, 1), asideCorrupt, "corrupt", "impossible"},
		"endless downtime":  {strings.Replace(good, `"refused": 3`, `"refused": 1e300`, 1), asideCorrupt, "corrupt", "impossible"},
		"endless restarts":  {strings.Replace(good, `"restart": 1`, `"restart": 18446744073709551615`, 1), asideCorrupt, "corrupt", "impossible"},
		"negative stall": {strings.Replace(good, `"outages": {`, `"stalled_seconds": -5, "outages": {`, 1), asideCorrupt, "corrupt",
			"impossible"},
		"half an outage": {strings.Replace(good, `"outages": {`, `"outages": {"open": {"reason": "refused"},`, 1), asideCorrupt, "corrupt",
			"incomplete"},
		"of the future":     {strings.Replace(good, `"version": 1`, `"version": 2`, 1), asideFutureVersion, "corrupt", "newer than"},
		"of another server": {strings.Replace(good, target, "db2:5432/shop", 1), asideOtherTarget, "other-target", "belongs to"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.content == good {
				t.Fatal("the test changed nothing")
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			st, s, out := keep(t, dir, target)
			if s.Restarts[Restart] != 0 || s.Identity != (identity{}) || s.Outages.total() != 0 {
				t.Errorf("state = %+v, want a new one", s)
			}
			if stats := st.read(); stats.aside[tc.why] != 1 || stats.persistence != persistenceOK {
				t.Errorf("store = %+v, want one file set aside as %s, and ok", stats, tc.why)
			}
			if l := out.String(); strings.Count(l, "\n") != 1 || !strings.Contains(l, tc.log) {
				t.Errorf("log = %q, want one line with %q", l, tc.log)
			}
			st.save(lived(), time.Now())
			st.stop(true, time.Second)
			aside, _ := filepath.Glob(filepath.Join(dir, stateFile+"."+tc.as+"-*"))
			if len(aside) != 1 {
				t.Fatalf("set aside: %v, want one file", aside)
			}
			if content, _ := os.ReadFile(aside[0]); string(content) != tc.content {
				t.Error("what was set aside is not what was found")
			}
			st, s, _ = keep(t, dir, target)
			defer st.stop(true, time.Second)
			if s.Restarts[Restart] != 1 {
				t.Error("the state that was saved then is not read")
			}
		})
	}
}

func TestTwoExportersDontShareAState(t *testing.T) {
	dir := t.TempDir()
	first, _, _ := keep(t, dir, target)
	first.save(lived(), time.Now())
	second, s, out := keep(t, dir, target)
	if s.Restarts[Restart] != 0 || second.read().persistence != persistenceLocked {
		t.Errorf("the second exporter: state %+v, store %+v; want a new state, and locked", s, second.read())
	}
	if !strings.Contains(out.String(), "another exporter") {
		t.Errorf("log = %q, want it to say so", out)
	}
	second.save(newState(), time.Now())
	second.stop(true, time.Second)
	first.stop(true, time.Second)
	third, s, _ := keep(t, dir, target)
	defer third.stop(true, time.Second)
	if s.Restarts[Restart] != 1 || third.read().persistence != persistenceOK {
		t.Errorf("after both: state %+v, store %+v; want the first one's", s, third.read())
	}
}

func TestADirectoryThatCantBeUsedStopsNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	st, s, out := keep(t, filepath.Join(file, "state"), target)
	st.save(s, time.Now())
	st.stop(true, time.Second)
	if stats := st.read(); stats.persistence != persistenceFailing || stats.saveErrors == 0 || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("store = %+v, log %q; want failing and one line", stats, out)
	}
	st, s, out = keep(t, "", target)
	st.save(s, time.Now())
	st.stop(true, time.Second)
	if stats := st.read(); stats.persistence != persistenceOff || out.String() != "" {
		t.Errorf("store = %+v, log %q; want off and silence", stats, out)
	}
}

func TestASaveThatFailsIsOneLineAndIsTriedAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	st, s, out := keep(t, dir, target)
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	for n := uint64(1); n <= 3; n++ {
		st.save(s, time.Now())
		waitUntil(t, func() bool { return st.read().saveErrors >= n })
	}
	if err := os.Rename(dir+".gone", dir); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, func() bool { return st.read().persistence == persistenceOK }) // without a change
	st.stop(true, time.Second)
	if stats := st.read(); stats.persistence != persistenceOK || stats.lastSave.IsZero() {
		t.Errorf("store = %+v, want ok again", stats)
	}
	if n := strings.Count(out.String(), "\n"); n != 2 {
		t.Errorf("log = %q, want a line when it began and one when it ended", out)
	}
}

// A disk that takes nothing any more is told of while it does, not when the exporter stops.
func TestASaveThatHangsIsToldOfWhenItHappens(t *testing.T) {
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	run := func(name string, args ...string) error {
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", name, err, out)
		}
		return nil
	}
	for _, command := range [][]string{{"truncate", "--size=8M", image}, {"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, dir}} {
		if err := run(command[0], command[1:]...); err != nil {
			t.Skipf("no disk can be made to hang here: %v", err)
		}
	}
	t.Cleanup(func() { _ = run("umount", dir) })
	var out pgtest.Buffer
	st := newStore(dir, target, log.NewLogfmtLogger(&out))
	st.slowSave = 100 * time.Millisecond
	opened := make(chan *state)
	go st.run(func(s *state, _ *history) { opened <- s }, newHistory(time.Minute))
	s := <-opened
	must(t, run("fsfreeze", "--freeze", dir))
	thaw := sync.OnceFunc(func() { _ = run("fsfreeze", "--unfreeze", dir) })
	t.Cleanup(thaw)
	st.save(s, time.Now())
	waitUntil(t, func() bool { return strings.Contains(out.String(), "the disk does not take the state") })
	if stats := st.read(); stats.persistence != persistenceFailing {
		t.Errorf("store = %+v, want failing", stats)
	}
	if k := st.keeping(time.Now()); !k.Failing || !strings.Contains(k.Error, "no answer within") {
		t.Errorf("keeping = %+v, want failing", k)
	}
	thaw()
	waitUntil(t, func() bool { return st.read().persistence == persistenceOK })
	st.stop(true, pgtest.Patience(5*time.Second))
	if n := strings.Count(out.String(), "\n"); n != 2 {
		t.Errorf("log = %q, want a line when it began and one when it ended", &out)
	}
}

// How the state fares is told to people, and why it is not kept.
func TestHowTheStateIsKeptIsTold(t *testing.T) {
	dir := t.TempDir()
	first, _, _ := keep(t, dir, target)
	defer first.stop(true, time.Second)
	second, _, _ := keep(t, dir, target)
	defer second.stop(true, time.Second)
	if k := second.keeping(time.Now()); (k != Keeping{Locked: true}) {
		t.Errorf("of a directory that is another's: %+v", k)
	}
	if k := first.keeping(time.Now()); (k != Keeping{}) {
		t.Errorf("of a directory of its own: %+v", k)
	}
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	third, _, _ := keep(t, filepath.Join(file, "below"), target)
	defer third.stop(true, time.Second)
	if k := third.keeping(time.Now()); !k.Failing || !strings.Contains(k.Error, "not a directory") {
		t.Errorf("of a directory that can't be made: %+v", k)
	}
}

func waitUntil(t *testing.T, f func() bool) {
	t.Helper()
	pgtest.Eventually(t, 10*time.Second, func() error {
		if !f() {
			return errors.New("not yet")
		}
		return nil
	})
}
