package main

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// What a child burns is found while it lives and after it has ended, and is not counted twice.
func TestTheCPUOfATree(t *testing.T) {
	before := treeCPU(os.Getpid())
	cmd := exec.Command("sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; read wait")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var child time.Duration
	for last := time.Duration(-1); child == 0 || child != last; time.Sleep(200 * time.Millisecond) { // until it waits for its input
		last, child = child, processCPU(cmd.Process.Pid)
	}
	alive := treeCPU(os.Getpid()) - before
	_ = in.Close()
	_ = cmd.Wait()
	ended := treeCPU(os.Getpid()) - before
	if child < 20*time.Millisecond {
		t.Fatalf("the child used %s: too little to be measured", child)
	}
	own := 200 * time.Millisecond // what this test does itself
	for when, got := range map[string]time.Duration{"alive": alive, "ended": ended} {
		if got < child-2*tick || got > child+own {
			t.Errorf("%s: the tree used %s, of which the child %s", when, got, child)
		}
	}
}
