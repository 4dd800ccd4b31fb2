package catalog

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// asNobody does something as a user who may read what everybody may. Root reads whatever the mode says.
func asNobody(t *testing.T, do func()) {
	t.Helper()
	if os.Getuid() != 0 {
		do()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with its file system user
		if err := unix.Setfsuid(65534); err != nil {
			t.Error(err)
			return
		}
		do()
	}()
	<-done
}

// everybody's makes all of a repository readable for everybody, so that a test takes away what it means to.
func everybodys(t *testing.T, r *Repository) {
	t.Helper()
	for dir := r.Dir(); strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(r.Dir(), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if e.IsDir() {
			mode = 0o755
		}
		return os.Chmod(path, mode)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// brokenDisk is a regular file whose reading is an input/output error.
const brokenDisk = "/proc/self/mem"

func TestWhatCantBeReadIsUnreadableAndWhatIsWrongIsDamaged(t *testing.T) {
	put := func(text string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(text), 0o644) }
	}
	instead := func(put func(string) error) func(string) error {
		return func(path string) error { return errors.Join(os.RemoveAll(path), put(path)) }
	}
	locked := func(path string) error { return os.Chmod(path, 0) }
	fifo := instead(func(path string) error { return syscall.Mkfifo(path, 0o644) })
	eio := instead(func(path string) error { return os.Symlink(brokenDisk, path) })
	loop := instead(func(path string) error { return os.Symlink(path, path) })
	for name, tc := range map[string]struct {
		file string
		do   func(path string) error
		want Health
	}{
		"no permission for the manifest":  {manifestFile, locked, Unreadable},
		"no permission for the sums":      {sumsFile, locked, Unreadable},
		"no permission for the status":    {statusFile, locked, Unreadable},
		"no permission for the data":      {"databases", locked, Unreadable},
		"no permission for the backup":    {"", locked, Unreadable},
		"I/O error in the manifest":       {manifestFile, eio, Unreadable},
		"I/O error in the sums":           {sumsFile, eio, Unreadable},
		"I/O error in the status":         {statusFile, eio, Unreadable},
		"links in a circle":               {manifestFile, loop, Unreadable},
		"a FIFO for the manifest":         {manifestFile, fifo, Unreadable},
		"a FIFO for the sums":             {sumsFile, fifo, Unreadable},
		"a FIFO for the status":           {statusFile, fifo, Unreadable},
		"a cut status":                    {statusFile, put(`{"verified": {"at"`), Unreadable},
		"a manifest of a newer program":   {manifestFile, newer, Unreadable},
		"the manifest is gone":            {manifestFile, os.Remove, Damaged},
		"the sums are gone":               {sumsFile, os.Remove, Damaged},
		"the data are gone":               {"databases/shop.dump", os.Remove, Damaged},
		"the data's directory is gone":    {"databases", os.RemoveAll, Damaged},
		"the data are shorter":            {"databases/shop.dump", put("x"), Damaged},
		"the manifest is cut":             {manifestFile, put(`{"format"`), Damaged},
		"the manifest is empty":           {manifestFile, put(""), Damaged},
		"the sums are empty":              {sumsFile, put(""), Damaged},
		"the status is gone, as at first": {statusFile, os.Remove, Unverified},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepo(t)
			b := publish(t, r, noon, "content")
			if err := r.UpdateStatus(t.Context(), b.ID, func(s *Status) { s.Checked = &Verification{At: noon} }); err != nil {
				t.Fatal(err)
			}
			everybodys(t, r)
			if err := tc.do(filepath.Join(b.Dir, tc.file)); err != nil {
				t.Fatal(err)
			}
			asNobody(t, func() {
				all, err := r.List()
				if err != nil || len(all) != 1 || all[0].Health != tc.want {
					t.Errorf("list = %+v, %v, want one %s backup", all, err, tc.want)
				}
			})
		})
	}
}

// newer makes a manifest that a later version of this program may write, its digest right.
func newer(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	m["format"] = FormatVersion + 1
	if text, err = json.Marshal(m); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(path, text, 0o644), os.WriteFile(filepath.Join(filepath.Dir(path), sumsFile), sums(nil, text), 0o644))
}

// A list that could not be read to its end would look as if backups were gone.
func TestListThatCantBeReadToItsEndIsAnError(t *testing.T) {
	r := newRepo(t)
	publish(t, r, noon, "content")
	everybodys(t, r)
	if err := os.Chmod(filepath.Join(r.Dir(), backupsDir), 0); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		if all, err := r.List(); err == nil {
			t.Errorf("list = %v, want an error", all)
		}
	})
}

// What can't be read is neither deleted nor written anew, whoever asks.
func TestUnreadableBackupIsLeftAlone(t *testing.T) {
	r := newRepo(t)
	b := publish(t, r, noon, "content")
	if err := r.UpdateStatus(t.Context(), b.ID, func(s *Status) { s.Verified = &Verification{At: noon} }); err != nil {
		t.Fatal(err)
	}
	status, sums := filepath.Join(b.Dir, statusFile), filepath.Join(b.Dir, sumsFile)
	for _, path := range []string{status, sums} {
		if err := os.Rename(path, path+".kept"); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(brokenDisk, path); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.UpdateStatus(t.Context(), b.ID, func(s *Status) { s.Damage = &Damage{At: noon} }); err == nil {
		t.Error("a status that can't be read was written anew: what it said is lost")
	}
	err := r.CheckSums(b.ID, nil)
	if err == nil || IsDamage(err) {
		t.Errorf("check = %v, want an error that condemns nothing", err)
	}
	for _, path := range []string{status, sums} {
		if err := os.Rename(path+".kept", path); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := r.Get(b.ID); err != nil || got.Health != Verified {
		t.Errorf("afterwards: %s, %v", got.Health, err)
	}
}

func TestDamagedJournalIsRebuiltAndNeverLooksNew(t *testing.T) {
	r := newRepo(t)
	b := publish(t, r, noon, "content")
	err := r.UpdateState(t.Context(), func(s *State) {
		*s = s.Began(Running{ID: b.ID, Since: noon})
		*s = s.Succeeded(b.Manifest)
		*s = s.Failed(Failure{At: noon.Add(time.Hour), Reason: "dump"})
		s.RetentionTarget = 7
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.Dir(), stateFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) - 2 {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := r.State()
		if !errors.Is(err, ErrDamagedJournal) || !s.LastSuccess.Equal(b.Manifest.Finished) || s.LastSequence != b.Sequence {
			t.Fatalf("cut after %d bytes: %+v, %v", n, s, err)
		}
	}
	// Also where all backups are gone, and nothing can be made out: it is no new repository.
	if err := r.Remove(b.ID); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.UpdateState(t.Context(), func(*State) {}); err != nil {
		t.Fatal(err)
	}
	if s, err := r.State(); err != nil || s.Rebuilt.IsZero() {
		t.Errorf("state = %+v, %v", s, err)
	}
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Error(err)
	}
}

// TestNothingHangsOrEmptiesWhatIsElsewhere: who can write into the repository can put anything in the place of its files.
func TestNothingHangsOrEmptiesWhatIsElsewhere(t *testing.T) {
	r, err := Init(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{lockRun, reserveFile} {
		if err := errors.Join(os.RemoveAll(filepath.Join(r.Dir(), name)), syscall.Mkfifo(filepath.Join(r.Dir(), name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if _, known := r.Busy(); known {
		t.Error("a FIFO says whether a job holds the lock")
	}
	r.restoreReserve() // it only must end
	for _, sub := range []string{tmpDir, trashDir} {
		elsewhere := t.TempDir()
		if err := os.WriteFile(filepath.Join(elsewhere, "precious"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.RemoveAll(filepath.Join(r.Dir(), sub)), os.Symlink(elsewhere, filepath.Join(r.Dir(), sub))); err != nil {
			t.Fatal(err)
		}
		if removed, err := r.Sweep(t.Context()); failure.Of(err) != failure.Repository {
			t.Errorf("%s: removed %v, %v", sub, removed, err)
		}
		if _, err := os.Stat(filepath.Join(elsewhere, "precious")); err != nil {
			t.Error(err)
		}
		if err := os.Remove(filepath.Join(r.Dir(), sub)); err != nil {
			t.Fatal(err)
		}
	}
}

// A repository's directory that leads to another disk costs the run, and the error says why.
func TestARepositoryOfTwoDisksIsNamed(t *testing.T) {
	other, err := os.MkdirTemp("/dev/shm", "pg_reliability_test-")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(other) })
	r := newRepo(t)
	dir := filepath.Join(r.Dir(), backupsDir)
	if err := errors.Join(os.Remove(dir), os.Symlink(other, dir)); err != nil {
		t.Fatal(err)
	}
	d, err := r.Begin(noon)
	if err != nil {
		t.Fatal(err)
	}
	d.Manifest.Engine, d.Manifest.Set, d.Manifest.RecoveryPoint = "pg_dump", "all", noon
	if err := os.WriteFile(filepath.Join(d.Dir, "shop.dump"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Seal(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Publish(noon); failure.Of(err) != failure.Repository || !strings.Contains(err.Error(), "on one file system") {
		t.Errorf("publish: %v", err)
	}
}

// TestAnotherUsersRepositoryIsNoPrivilegeOfTheServer: who may not write there is not sent to look for a role's rights.
func TestAnotherUsersRepositoryIsNoPrivilegeOfTheServer(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root makes a directory that the test may not write")
	}
	r, err := Init(filepath.Join(t.TempDir(), "repo"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	everybodys(t, r)
	asNobody(t, func() {
		_, err := r.Lock()
		if err == nil || failure.Of(err) != failure.Repository || !strings.Contains(err.Error(), "Run the command as the user to whom "+r.Dir()) {
			t.Errorf("%s: %v", failure.Of(err), err)
		}
	})
}
