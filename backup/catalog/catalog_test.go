package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func newRepo(t *testing.T) *Repository {
	t.Helper()
	r, err := Init(filepath.Join(t.TempDir(), "repo"), noon)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// publish makes a backup with one file.
func publish(t *testing.T, r *Repository, at time.Time, content string) Backup {
	t.Helper()
	d, err := r.Begin(at)
	if err != nil {
		t.Fatal(err)
	}
	d.Manifest.Engine, d.Manifest.Set = "pg_dump", "all"
	d.Manifest.Databases = []Database{{Name: "shop", Contents: Contents{Tables: []Table{{Schema: "public", Name: "item", Rows: 7}}}}}
	d.Manifest.RecoveryPoint = at
	if err := os.MkdirAll(filepath.Join(d.Dir, "databases"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Dir, "databases", "shop.dump"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := d.Seal(); err != nil {
		t.Fatal(err)
	}
	b, err := d.Publish(at.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPublishedBackupIsReadableByOthersTools(t *testing.T) {
	r := newRepo(t)
	b := publish(t, r, noon, "content")
	if b.Health != Unverified || b.Manifest.Bytes != 7 || b.Manifest.Rows() != 7 {
		t.Errorf("backup = %+v", b)
	}
	cmd := exec.Command("sha256sum", "--strict", "-c", "SHA256SUMS")
	cmd.Dir = b.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
	err := filepath.WalkDir(r.Dir(), func(path string, e os.DirEntry, err error) error {
		fi, ierr := e.Info()
		if err != nil || ierr != nil {
			return errors.Join(err, ierr)
		}
		if fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", path, fi.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOrderIsThatOfRunsWhateverTheClockSays(t *testing.T) {
	r := newRepo(t)
	a := publish(t, r, noon, "a")
	b := publish(t, r, noon.Add(-24*time.Hour), "b") // the clock was set back
	c := publish(t, r, noon.Add(-24*time.Hour), "c") // within the same second
	all, err := r.List()
	if err != nil {
		t.Fatal(err)
	}
	if all[0].ID != c.ID || all[1].ID != b.ID || all[2].ID != a.ID {
		t.Errorf("order is %s %s %s", all[0].ID, all[1].ID, all[2].ID)
	}
	if got, err := Choose(all, Wanted{Name: Latest}); err != nil || got.ID != c.ID {
		t.Errorf("latest = %s, %v", got.ID, err)
	}
	if got, err := Choose(all, Wanted{Name: noon.Add(-time.Hour).Format(time.RFC3339)}); err != nil || got.ID != c.ID {
		t.Errorf("by time = %s, %v", got.ID, err)
	}
	// A number is never used twice, also after its backup is gone.
	if err := r.UpdateState(t.Context(), func(s *State) { *s = s.Began(Running{ID: c.ID}) }); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(c.ID); err != nil {
		t.Fatal(err)
	}
	if d := publish(t, r, noon, "d"); d.Sequence != c.Sequence+1 {
		t.Errorf("sequence %d after %d", d.Sequence, c.Sequence)
	}
}

// Before its first entry in the journal a run has a directory alone, by which it is counted, once.
func TestARunKilledAtItsBeginningIsAFailureForReaders(t *testing.T) {
	r := newRepo(t)
	d, err := r.Begin(noon)
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.State()
	if err != nil {
		t.Fatal(err)
	}
	settled := r.Settled(s)
	if f := settled.LastFailure; f == nil || f.Reason != failure.Killed || f.ID != d.ID() {
		t.Errorf("settled = %+v", settled)
	}
	if again := r.Settled(settled); len(again.Runs) != 1 || again.Runs[0] != (Count{Failing, failure.Killed, 1}) {
		t.Errorf("settled twice, runs = %+v", again.Runs)
	}
}

func TestKilledRunIsAFailureForReadersAndForTheNextStart(t *testing.T) {
	r := newRepo(t)
	d, err := r.Begin(noon)
	if err != nil {
		t.Fatal(err)
	}
	err = r.UpdateState(t.Context(), func(s *State) { *s = s.Began(Running{ID: d.ID(), Since: noon}) })
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.State()
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Settled(s); got.LastFailure == nil || got.LastFailure.Reason != failure.Killed || got.Running != nil {
		t.Errorf("settled = %+v", got)
	}
	if _, err := r.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Sweep(t.Context()); err != nil { // counts once
		t.Fatal(err)
	}
	s, _ = r.State()
	if len(s.Runs) != 1 || s.Runs[0] != (Count{Failing, failure.Killed, 1}) {
		t.Errorf("runs = %+v", s.Runs)
	}
	if _, err := os.Stat(d.Dir); err == nil {
		t.Error("the draft is still there")
	}
}

func TestRunKilledAfterItsPublicationIsASuccess(t *testing.T) {
	r := newRepo(t)
	b := publish(t, r, noon, "a")
	err := r.UpdateState(t.Context(), func(s *State) { *s = s.Began(Running{ID: b.ID, Since: noon}) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, _ := r.State(); len(s.Runs) != 1 || s.Runs[0].Result != Success || s.LastFailure != nil {
		t.Errorf("state = %+v", s)
	}
}

func TestRunKilledAtItsVeryBeginningIsCounted(t *testing.T) {
	r := newRepo(t)
	if _, err := r.Begin(noon); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, _ := r.State(); len(s.Runs) != 1 || s.Runs[0].Reason != failure.Killed {
		t.Errorf("state = %+v", s)
	}
}

func TestDamagedJournalIsBegunAnewAndKeptAside(t *testing.T) {
	r := newRepo(t)
	b := publish(t, r, noon, "a")
	path := filepath.Join(r.Dir(), stateFile)
	for _, text := range []string{`{"format": 1, "runs"`, `{"format": "x"}`, `{"last_success": "2026-11-23T0x:00:00Z"}`, ``, "\x00\x00"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := r.UpdateState(t.Context(), func(s *State) { *s = s.Succeeded(b.Manifest) }); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if s, err := r.State(); err != nil || len(s.Runs) != 1 {
			t.Errorf("%q: state = %+v, %v", text, s, err)
		}
	}
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Error(err)
	}
	if next := publish(t, r, noon, "b"); next.Sequence <= b.Sequence {
		t.Errorf("sequence %d after %d", next.Sequence, b.Sequence)
	}
}

func TestCutStatusIsUnreadableUntilCheckedAgain(t *testing.T) {
	r := newRepo(t)
	b := publish(t, r, noon, "a")
	if err := os.WriteFile(filepath.Join(b.Dir, statusFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := r.Get(b.ID); got.Health != Unreadable {
		t.Errorf("state = %s", got.Health)
	}
	if err := r.UpdateStatus(t.Context(), b.ID, func(s *Status) { s.Verified = &Verification{At: noon} }); err != nil {
		t.Fatal(err)
	}
	if got, _ := r.Get(b.ID); got.Health != Verified {
		t.Errorf("state = %s (%s)", got.Health, got.Problem)
	}
}

func TestLocks(t *testing.T) {
	r := newRepo(t)
	if busy, known := r.Busy(); busy || !known {
		t.Errorf("busy = %t, %t", busy, known)
	}
	release, err := r.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if busy, known := r.Busy(); !busy || !known {
		t.Errorf("busy = %t, %t while locked", busy, known)
	}
	if _, err := r.Lock(); failure.Of(err) != failure.Locked {
		t.Errorf("a second lock: %v", err)
	}
	release()
	b := publish(t, r, noon, "a")
	done, err := r.Hold(b.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(b.ID); !errors.Is(err, ErrLocked) {
		t.Errorf("remove while it is read: %v", err)
	}
	if got, err := r.Get(b.ID); err != nil || !got.Health.Good() {
		t.Errorf("after that: %+v, %v", got, err)
	}
	done()
	if err := r.Remove(b.ID); err != nil {
		t.Error(err)
	}
}

func TestConcurrentUpdatesLoseNothing(t *testing.T) {
	r := newRepo(t)
	const n = 20
	errs := make(chan error, n)
	for range n {
		go func() {
			own, err := Open(r.Dir())
			if err == nil {
				err = own.UpdateState(context.Background(), func(s *State) { *s = s.WithVerification(Success, "") })
			}
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if s, _ := r.State(); s.Verifications[0].N != n {
		t.Errorf("counted %d of %d", s.Verifications[0].N, n)
	}
}

func TestInitRefusesADirectoryInUseAndFinishesAnInterruptedOne(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, backupsDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(dir, noon); err != nil {
		t.Error(err)
	}
	used := t.TempDir()
	if err := os.WriteFile(filepath.Join(used, "letter.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(used, noon); failure.Of(err) != failure.Repository {
		t.Errorf("init of a directory in use: %v", err)
	}
	lost := t.TempDir() // backups, but no sentinel
	if err := os.MkdirAll(filepath.Join(lost, backupsDir, "20260101T000000Z-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(lost, noon); failure.Of(err) != failure.Repository {
		t.Errorf("init over backups: %v", err)
	}
}

func TestNewerFormatIsRefusedNotMisread(t *testing.T) {
	r := newRepo(t)
	d, err := r.Begin(noon)
	if err != nil {
		t.Fatal(err)
	}
	d.Manifest.Engine, d.Manifest.Format, d.Manifest.External = "x", FormatVersion+1, &External{}
	if _, err := d.Publish(noon); err == nil {
		t.Error("a manifest of a newer format was published")
	}
	b, _ := json.Marshal(Sentinel{Format: FormatVersion + 1, ID: "x"})
	if err := os.WriteFile(filepath.Join(r.Dir(), sentinelFile), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(r.Dir()); failure.Of(err) != failure.Repository {
		t.Errorf("open: %v", err)
	}
}

func TestSealRefusesWhatIsNoFile(t *testing.T) {
	r := newRepo(t)
	d, err := r.Begin(noon)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(d.Dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := d.Seal(); err == nil {
		t.Error("a symbolic link was sealed")
	}
}

func TestEveryStepOfThePublicationLeavesNoBadBackup(t *testing.T) {
	// The steps of Publish, one after the other, each followed by a reader.
	r := newRepo(t)
	good := publish(t, r, noon, "good")
	d, err := r.Begin(noon)
	if err != nil {
		t.Fatal(err)
	}
	d.Manifest.Engine, d.Manifest.External = "x", &External{Label: "F"}
	content, _ := encode(d.Manifest)
	steps := []func() error{
		func() error { return os.WriteFile(filepath.Join(d.Dir, "data"), []byte("half"), 0o600) },
		func() error { return writeSynced(filepath.Join(d.Dir, sumsFile), sums(nil, content)) },
		func() error { return writeSynced(filepath.Join(d.Dir, manifestFile), content[:10]) },
		func() error { return writeSynced(filepath.Join(d.Dir, manifestFile), content) },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		all, err := r.List()
		if err != nil || len(all) != 1 || all[0].ID != good.ID {
			t.Errorf("after step %d the list is %v, %v", i, all, err)
		}
	}
}

func TestListIgnoresWhatIsNotOurs(t *testing.T) {
	r := newRepo(t)
	publish(t, r, noon, "a")
	for _, name := range []string{"notes", "20260101T000000Z", ".hidden"} {
		if err := os.Mkdir(filepath.Join(r.Dir(), backupsDir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	all, err := r.List()
	if err != nil || len(all) != 1 {
		t.Errorf("%d backups, %v", len(all), err)
	}
	if err := r.Remove("notes"); err == nil {
		t.Error("a foreign directory was removed")
	}
	if !slices.Contains(Healths(), all[0].Health) {
		t.Errorf("state %s is not in the list of states", all[0].Health)
	}
}

// A backup that somebody moved to another disk, with a link in its place, is neither forgotten nor followed to there.
func TestABackupThatIsElsewhereIsUnreadable(t *testing.T) {
	r := newRepo(t)
	b, good := publish(t, r, noon, "content"), publish(t, r, noon, "content")
	other := filepath.Join(t.TempDir(), b.ID)
	if err := errors.Join(os.Rename(b.Dir, other), os.Symlink(other, b.Dir)); err != nil {
		t.Fatal(err)
	}
	for _, there := range []bool{true, false} {
		if !there {
			if err := os.RemoveAll(other); err != nil { // a disk that is not mounted
				t.Fatal(err)
			}
		}
		for name, list := range map[string]func() ([]Backup, error){"List": r.List, "Brief": r.Brief} {
			all, err := list()
			if err != nil || len(all) != 2 || all[0].ID != good.ID || !all[0].Health.Good() || all[1].ID != b.ID || all[1].Health != Unreadable ||
				!strings.Contains(all[1].Problem, "move the backup") {
				t.Errorf("%s, there %t: %+v, %v", name, there, all, err)
			}
		}
		if got, err := r.Get(b.ID); err != nil || got.Health != Unreadable {
			t.Errorf("there %t: %s, %v", there, got.Health, err)
		}
	}
}

// TestAnothersStatusMakesNothingVerified: a copy or a restore of the repository brought one backup's status.json into another's directory,
// which was "verified" then, and never restored.
func TestAnothersStatusMakesNothingVerified(t *testing.T) {
	r := newRepo(t)
	a, b := publish(t, r, noon, "a"), publish(t, r, noon, "b")
	verified := func(s *Status) { s.Verified = &Verification{At: noon} }
	if err := r.UpdateStatus(t.Context(), a.ID, verified); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(a.Dir, statusFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.Dir, statusFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := r.List()
	if err != nil {
		t.Fatal(err)
	}
	brief, err := r.Brief()
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range [][]Backup{all, brief} {
		if list[0].ID != b.ID || list[0].Health != Unreadable || !strings.Contains(list[0].Problem, "verify") || list[1].Health != Verified {
			t.Errorf("%s is %s (%s), %s is %s", list[0].ID, list[0].Health, list[0].Problem, list[1].ID, list[1].Health)
		}
	}
	if err := r.UpdateStatus(t.Context(), b.ID, func(s *Status) {
		if s.Verified != nil {
			t.Error("it is verified by the other's word")
		}
		verified(s)
	}); err != nil {
		t.Fatal(err)
	}
	if got, _ := r.Get(b.ID); got.Health != Verified {
		t.Errorf("checked anew it is %s (%s)", got.Health, got.Problem)
	}
	// One of before a status named its backup counts as it did, where it is of after the backup.
	if err := os.WriteFile(filepath.Join(b.Dir, statusFile), []byte(`{"verified": {"at": "2026-11-23T13:00:00Z"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := r.Get(b.ID); got.Health != Verified {
		t.Errorf("an older status: %s (%s)", got.Health, got.Problem)
	}
}

// TestAStatusThatNamesNoBackupIsBelievedOnlyOfWhatIsOlder: before statuses named their backup, a copied one made any backup verified.
func TestAStatusThatNamesNoBackupIsBelievedOnlyOfWhatIsOlder(t *testing.T) {
	r := newRepo(t)
	b := publish(t, r, noon, "a")
	for name, tc := range map[string]struct {
		at   time.Duration // after the backup
		want Health
	}{"before the backup": {-time.Second, Unverified}, "after it": {time.Second, Verified}} {
		said := Verification{At: b.Manifest.Finished.Add(tc.at), Level: 3, Result: Passed}
		text, err := json.Marshal(Status{Verified: &said})
		if err == nil {
			err = os.WriteFile(filepath.Join(b.Dir, statusFile), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time it names its backup, by a change of something else
			all, err := r.Brief()
			if err != nil {
				t.Fatal(err)
			}
			if one, err := r.Get(b.ID); err != nil || one.Health != tc.want || all[0].Health != tc.want {
				t.Errorf("%s: %s and %s, want %s (%v)", name, one.Health, all[0].Health, tc.want, err)
			}
			other := Offsite{Target: "x", Attempted: noon.Add(time.Hour)}
			if err := r.UpdateStatus(t.Context(), b.ID, func(s *Status) { s.Offsite = &other }); err != nil {
				t.Fatal(err)
			}
		}
	}
}
