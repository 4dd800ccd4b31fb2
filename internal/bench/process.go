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

// processCPU is what a process used so far, in user mode and in the kernel, to the nanosecond: the scheduler's own account of each of
// its threads (/proc/PID/task/TID/schedstat). Where the kernel has none, it is in ticks of 10 ms.
func processCPU(pid int) time.Duration {
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	var total time.Duration
	for _, path := range paths {
		b, _ := os.ReadFile(path)
		onCPU, _, _ := strings.Cut(string(b), " ")
		ns, _ := strconv.ParseInt(onCPU, 10, 64)
		total += time.Duration(ns)
	}
	if total == 0 {
		return ticks(stat(pid), 14, 15)
	}
	return total
}

// treeCPU is what a server used so far: its first process, those of its sessions and workers that live, and those that have ended, logins
// among them. Ended ones are counted in ticks of 10 ms, all together: what is measured must be much longer than that.
func treeCPU(root int) time.Duration {
	total := processCPU(root) + ticks(stat(root), 16, 17)
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if f := stat(pid); len(f) > 1 && f[1] == strconv.Itoa(root) {
			total += processCPU(pid)
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

// load is the machine's load of the last minute.
func load() float64 {
	b, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	v, _ := strconv.ParseFloat(first, 64)
	return v
}
