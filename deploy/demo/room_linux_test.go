package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// What can't be removed at once, such as the directory of a process that still writes, stays with its lock, so that a later demo
// sweeps it. Without the lock it would stay for good.
func TestWhatCouldNotBeRemovedIsSweptLater(t *testing.T) {
	r, err := openRoom()
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(r.dir)
	busy := r.path("a server")
	if err := os.Mkdir(busy, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", busy, "tmpfs", 0, ""); err != nil {
		t.Skip("only root can mount what can't be removed: ", err)
	}
	mounted := true
	defer func() {
		if mounted {
			_ = syscall.Unmount(busy, 0)
		}
	}()
	if err := r.close(); err == nil {
		t.Fatal("a room with a mounted directory was removed")
	}
	if _, err := os.Stat(filepath.Join(r.dir, "lock")); err != nil {
		t.Fatal("the lock is gone before the room:", err)
	}
	if err := syscall.Unmount(busy, 0); err != nil {
		t.Fatal(err)
	}
	mounted = false
	old := time.Now().Add(-time.Minute)
	if err := os.Chtimes(filepath.Join(r.dir, "lock"), old, old); err != nil {
		t.Fatal(err)
	}
	sweep()
	if _, err := os.Stat(r.dir); !os.IsNotExist(err) {
		t.Errorf("%s is left behind: %v", r.dir, err)
	}
}
