package host

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
)

const (
	// longest is how many bytes of a file of the kernel are read. All that are read here have some hundred.
	longest = 64 << 10
	// From here on pressure and load are told. Below, a busy and healthy server would fill each window.
	somePressure = 0.2
	highLoad     = 4 // runnable processes per CPU, over a minute
)

var errForm = errors.New("a file of the kernel is not in the form that its manual page says")

// read has the first bytes of a file below /proc.
func (w *Watcher) read(parts ...string) ([]byte, error) {
	return readFile(filepath.Join(append([]string{w.o.Proc}, parts...)...))
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, longest))
}

// cgroup is where the control groups of a process are, of version 2 or 1; each path is empty where it is unknown.
type cgroup struct {
	// memory and freezer are directories; the same one in version 2.
	memory, freezer string
	v2              bool
}

// cgroupOf finds them: /proc/PID/cgroup has a line for each hierarchy, of which version 2 has but one, with the number 0.
func (w *Watcher) cgroupOf(pid int) (c cgroup) {
	data, err := w.read(strconv.Itoa(pid), "cgroup")
	if err != nil {
		return c
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		parts := strings.SplitN(lines.Text(), ":", 3)
		if len(parts) != 3 {
			continue
		}
		path := filepath.Clean("/" + parts[2]) // seen from another namespace it may begin with /..
		switch {
		case parts[0] == "0" && parts[1] == "" && c.memory == "":
			c = cgroup{memory: filepath.Join(w.o.Cgroups, path), freezer: filepath.Join(w.o.Cgroups, path), v2: true}
		case parts[1] == "memory":
			c.memory, c.v2 = filepath.Join(w.o.Cgroups, "memory", path), false
		case parts[1] == "freezer":
			c.freezer = filepath.Join(w.o.Cgroups, "freezer", path)
		}
	}
	return c
}

// kills is how many of its processes the kernel has killed for want of memory.
func (c cgroup) kills() (uint64, bool) {
	if c.memory == "" {
		return 0, false
	}
	file := "memory.events"
	if !c.v2 {
		file = "memory.oom_control"
	}
	data, err := readFile(filepath.Join(c.memory, file))
	if err != nil {
		return 0, false
	}
	return counter(data, "oom_kill")
}

// frozen is whether all its processes are stopped, as `docker pause` does it.
func (c cgroup) frozen() bool {
	if c.freezer == "" {
		return false
	}
	if !c.v2 {
		data, err := readFile(filepath.Join(c.freezer, "freezer.state"))
		return err == nil && strings.TrimSpace(string(data)) == "FROZEN"
	}
	data, err := readFile(filepath.Join(c.freezer, "cgroup.events"))
	if err != nil {
		return false
	}
	n, ok := counter(data, "frozen")
	return ok && n == 1
}

// counter finds a number by its name: the kernel writes one of each a line.
func counter(data []byte, name string) (uint64, bool) {
	for line := range strings.Lines(string(data)) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// oomKills tells of kills since the last look: of the server's own control group where that can be read, else of the whole machine.
func (w *Watcher) oomKills() {
	if n, ok := w.server.cgroup.kills(); ok {
		if w.grew(w.server.cgroup.memory, n) {
			w.tell(incident.OOMKill, "in the server's control group "+filepath.Base(w.server.cgroup.memory), 0)
		}
		return
	}
	data, err := w.read("vmstat")
	if err != nil {
		return
	}
	if n, ok := counter(data, "oom_kill"); ok && w.grew("", n) {
		w.tell(incident.HostOOMKill, "", 0)
	}
}

// grew is whether a counter is more than at the last look.
func (w *Watcher) grew(name string, n uint64) bool {
	was, known := w.kills[name]
	w.kills[name] = n
	return known && n > was
}

// pressure tells how much of the last ten seconds somebody waited for memory, the disk or a CPU: in the server's control group, else on
// the machine.
func (w *Watcher) pressure() {
	for _, of := range []struct {
		what string
		kind incident.FactKind
	}{{"memory", incident.MemoryPressure}, {"io", incident.IOPressure}, {"cpu", incident.CPUPressure}} {
		data, err := []byte(nil), os.ErrNotExist
		if w.server.cgroup.v2 {
			data, err = readFile(filepath.Join(w.server.cgroup.memory, of.what+".pressure"))
		}
		if err != nil {
			data, err = w.read("pressure", of.what)
		}
		if err != nil {
			continue
		}
		if share, ok := some10(data); ok && share >= somePressure {
			w.tell(of.kind, "", share)
		}
	}
}

// some10 reads the line "some avg10=12.34 ..." as a ratio.
func some10(data []byte) (float64, bool) {
	for line := range strings.Lines(string(data)) {
		rest, found := strings.CutPrefix(line, "some avg10=")
		if !found {
			continue
		}
		number, _, _ := strings.Cut(rest, " ")
		percent, err := strconv.ParseFloat(number, 64)
		return percent / 100, err == nil && percent >= 0 && percent <= 100
	}
	return 0, false
}

// load tells of a machine with much more to do than it can.
func (w *Watcher) load() {
	data, err := w.read("loadavg")
	if err != nil {
		return
	}
	number, _, _ := strings.Cut(string(data), " ")
	if n, err := strconv.ParseFloat(number, 64); err == nil && n >= highLoad*float64(runtime.NumCPU()) {
		w.tell(incident.Load, "", n/float64(runtime.NumCPU()))
	}
}
