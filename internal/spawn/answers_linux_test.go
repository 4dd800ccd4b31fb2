package spawn

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A program on a dead mount held up the whole process: between fork and exec no goroutine of it could be stopped, and the next
// collection of garbage waited for all.
func TestAProgramOnADeadMountIsNotStarted(t *testing.T) {
	dead := t.TempDir()
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no FUSE here: %v", err)
	}
	defer fuse.Close()
	err = unix.Mount("dead", dead, "fuse", unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse.Fd()))
	if err != nil {
		t.Skipf("FUSE can't be mounted here: %v", err)
	}
	defer func() { _ = unix.Unmount(dead, unix.MNT_DETACH) }()
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#! "+dead+"/shell -e\n"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	for _, path := range []string{dead + "/program", script} {
		cmd := &exec.Cmd{Path: path, Args: []string{path}}
		if err := Start(cmd, syscall.SIGKILL); err == nil || !strings.Contains(err.Error(), "has not been read for") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := Start(exec.Command("true"), syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}
