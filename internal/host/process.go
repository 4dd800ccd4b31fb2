package host

import (
	"bytes"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
)

// process is one of this machine, told from a later one of the same number by when it began.
type process struct {
	pid     int
	started string
	cgroup  cgroup
}

// postmaster is the parent of a process that serves us. That it runs here is proven by its title, which names our user and database; a
// process of that number on this machine that has another title serves somebody else, and the server is elsewhere.
func (w *Watcher) postmaster(pid int, user, database string) process {
	title, err := w.read(strconv.Itoa(pid), "cmdline")
	if err != nil || pid <= 1 || !bytes.HasPrefix(title, []byte("postgres")) ||
		!bytes.Contains(title, []byte(" "+user+" "+database+" ")) {
		return process{}
	}
	serving, err := w.stat(pid)
	if err != nil {
		return process{}
	}
	server, err := w.stat(serving.parent)
	if err != nil {
		return process{}
	}
	return process{pid: serving.parent, started: server.started, cgroup: w.cgroupOf(serving.parent)}
}

// stat is what /proc/PID/stat says, of which little is of use here.
type stat struct {
	state   string
	parent  int
	started string
}

func (w *Watcher) stat(pid int) (s stat, err error) {
	data, err := w.read(strconv.Itoa(pid), "stat")
	if err != nil {
		return s, err
	}
	return parseStat(data)
}

// parseStat reads proc_pid_stat(5): the program's name is in parentheses and may hold any byte, also a parenthesis.
func parseStat(data []byte) (s stat, err error) {
	const parent, started = 1, 19
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) <= started {
		return s, errForm
	}
	s.state, s.started = fields[0], fields[started]
	s.parent, err = strconv.Atoi(fields[parent])
	return s, err
}

// lives is whether the postmaster that is known has not ended.
func (w *Watcher) lives() bool {
	is, err := w.stat(w.server.pid)
	return err == nil && is.started == w.server.started
}

// processes tells whether the postmaster is stopped: by a signal or a debugger, or with its whole control group. One that waits for a
// disk is told, too: nothing ends it.
func (w *Watcher) processes() {
	if w.server.pid == 0 {
		return
	}
	is, err := w.stat(w.server.pid)
	if err != nil || is.started != w.server.started {
		return // it has ended; the probes say so
	}
	switch is.state {
	case "T", "t":
		w.tell(incident.ProcessStopped, "the postmaster (process "+strconv.Itoa(w.server.pid)+")", 0)
	case "D":
		w.tell(incident.ProcessWaits, "the postmaster (process "+strconv.Itoa(w.server.pid)+")", 0)
	}
	if w.server.cgroup.frozen() {
		w.tell(incident.ProcessStopped, "the control group "+filepath.Base(w.server.cgroup.memory), 0)
	}
}
