package host

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Memory is what the process that asks may have, in bytes. Limit is the least that its control groups set, of version 2 or 1, and
// Machine what the machine has; each is 0 where it is unknown or not bounded.
type Memory struct{ Limit, Machine int64 }

// OwnMemory reads it from the kernel's files, whose places are /proc and /sys/fs/cgroup where they are empty.
func OwnMemory(proc, cgroups string) Memory {
	if proc == "" {
		proc = "/proc"
	}
	if cgroups == "" {
		cgroups = "/sys/fs/cgroup"
	}
	w := &Watcher{o: Options{Proc: proc, Cgroups: cgroups}}
	var m Memory
	if data, err := w.read("meminfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
				kB, _ := strconv.ParseInt(f[1], 10, 64)
				m.Machine = kB << 10
			}
		}
	}
	group, file, root := w.cgroupOf(os.Getpid()), "memory.max", cgroups
	if !group.v2 {
		file, root = "memory.limit_in_bytes", filepath.Join(cgroups, "memory")
	}
	if group.memory == "" {
		return m
	}
	// A group has no more than each above it. In a container the file of its own group may be that of the root.
	for dir := group.memory; strings.HasPrefix(dir, root); dir = filepath.Dir(dir) {
		data, err := readFile(filepath.Join(dir, file))
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		const unbounded = math.MaxInt64 / 2 // version 1 says so with the largest number of whole pages
		if err == nil && n > 0 && n < unbounded && (m.Limit == 0 || n < m.Limit) {
			m.Limit = n
		}
	}
	return m
}
