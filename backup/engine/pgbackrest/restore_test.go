package pgbackrest

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// With a narrow mask, the directories above a restored cluster were closed to the server's system user. The mask is the whole process's: no
// other test runs beside this one.
func TestAnotherUserCanEnterWhatIsAboveARestoredCluster(t *testing.T) {
	top := t.TempDir()
	mask := unix.Umask(0o077)
	defer unix.Umask(mask)
	dir := filepath.Join(top, "a", "b")
	if err := makeEntrance(dir); err != nil {
		t.Fatal(err)
	}
	for _, made := range []string{dir, filepath.Dir(dir)} {
		if st, err := os.Stat(made); err != nil || st.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", made, st, err)
		}
	}
	before, _ := os.Stat(top)
	if err := makeEntrance(dir); err != nil {
		t.Error(err)
	}
	if after, err := os.Stat(top); err != nil || after.Mode() != before.Mode() {
		t.Errorf("what was there is changed: %v, %v", after, err)
	}
}
