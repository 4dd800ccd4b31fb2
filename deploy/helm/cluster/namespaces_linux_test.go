package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// insideSwitch says to the test's second process which directory the first one made for it.
const insideSwitch = "PG_RELIABILITY_KUBERNETES_INSIDE"

// inNamespaces runs the test again with a network, mounts and processes of its own: when its first process ends, whatever the
// reason, the kernel takes all others, all mounts and the network along. What the kernel keeps is removed here.
func inNamespaces(t *testing.T) {
	// Short, because of the unix sockets in it; open, because of users in containers.
	dir, err := os.MkdirTemp("/tmp", "pgr-")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(dir)
	t.Cleanup(func() {
		if err := errors.Join(removeGroups(name), os.RemoveAll(dir)); err != nil {
			t.Errorf("clean up after the node: %v", err)
		}
	})
	if err := errors.Join(os.Chmod(dir, 0o755), makeGroups(name)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if deadline, ok := t.Deadline(); ok { // go test's own end would leave no time to clean up
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-time.Minute))
		defer cancel()
	}
	// The first process there is a shell: it buries those whose parents have ended.
	cmd := exec.CommandContext(ctx, "unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc",
		"--kill-child",
		"bash", "testdata/boot.sh", dir, os.Args[0], "-test.run=^TestCluster$", "-test.v", "-test.timeout=0")
	cmd.Env = append(os.Environ(), insideSwitch+"="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // whose end the kernel would take for this process's
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		t.Errorf("in the namespaces: %v", errors.Join(err, context.Cause(ctx)))
	}
}

// The kubelet gets a control group of its own in each hierarchy: two that share a root would end each other's pods.

const groupsRoot = "/sys/fs/cgroup"

// groupTrees are the mounted hierarchies: one with control groups v2, else one for each controller.
func groupTrees() ([]string, error) {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	var trees []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); strings.HasPrefix(f[2], "cgroup") && strings.HasPrefix(f[1], groupsRoot) && !slices.Contains(trees, f[1]) {
			trees = append(trees, f[1])
		}
	}
	return trees, nil
}

func makeGroups(name string) error {
	trees, err := groupTrees()
	if err != nil || len(trees) == 0 {
		return fmt.Errorf("no control groups below %s: %w", groupsRoot, err)
	}
	for _, tree := range trees {
		// A v2 hierarchy hands down only the controllers that it is told to.
		if controllers, err := os.ReadFile(filepath.Join(tree, "cgroup.controllers")); err == nil {
			for _, c := range strings.Fields(string(controllers)) {
				if err := os.WriteFile(filepath.Join(tree, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
					return fmt.Errorf("hand down the controller %s: %w", c, err)
				}
			}
		}
		if err := os.Mkdir(filepath.Join(tree, name), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// removeGroups takes away all control groups of the node. Their processes are gone, or about to be.
func removeGroups(name string) error {
	trees, err := groupTrees()
	if err != nil {
		return err
	}
	for _, tree := range trees {
		var left []string
		for range 100 {
			left = left[:0]
			// Deepest first.
			out, _ := exec.Command("find", filepath.Join(tree, name), "-depth", "-type", "d").Output()
			for group := range strings.Lines(string(out)) {
				if group = strings.TrimSpace(group); os.Remove(group) != nil {
					left = append(left, group)
				}
			}
			if len(left) == 0 {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if len(left) > 0 {
			return fmt.Errorf("control groups are left behind: %s", strings.Join(left, " "))
		}
	}
	return nil
}
