package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick of /proc/PID/stat: USER_HZ, which is 100 on every Linux.
const tick = 10 * time.Millisecond

// stat is /proc/PID/stat after the command's name: proc(5) numbers these fields from 3.
func stat(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
}

// processCPU is what a process used so far, in user mode and in the kernel.
func processCPU(pid int) time.Duration { return ticks(stat(pid), 14, 15) }

// treeCPU adds the children, those that have ended as well.
func treeCPU(root int) time.Duration {
	total := ticks(stat(root), 14, 15, 16, 17)
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if f := stat(pid); len(f) > 1 && f[1] == strconv.Itoa(root) {
			total += ticks(f, 14, 15)
		}
	}
	return total
}

func ticks(fields []string, numbers ...int) (total time.Duration) {
	for _, n := range numbers {
		if n-3 < len(fields) {
			v, _ := strconv.ParseInt(fields[n-3], 10, 64)
			total += time.Duration(v) * tick
		}
	}
	return total
}

// residentBytes is VmRSS.
func residentBytes(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}
