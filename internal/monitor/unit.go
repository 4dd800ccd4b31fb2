package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Supervisor is what starts the server again when it ends, and counts that.
type Supervisor interface {
	// Name says what it looks after, such as "unit postgresql@17-main".
	Name() string
	// State is what it says now.
	State(ctx context.Context) (UnitState, error)
}

// UnitState is a unit's state in systemd's own words.
type UnitState struct {
	// Load is loaded, or why it isn't: not-found, masked, error.
	Load string
	// Active is active, inactive, failed, activating, deactivating; Sub is finer: running, exited, dead, auto-restart.
	Active, Sub string
	// Result of its last end: success, signal, exit-code, oom-kill, ...
	Result string
	// Restarts by systemd itself since somebody started it; nil where systemd doesn't count (before 235).
	Restarts *int
	// Since is when it became active; zero when it is not.
	Since time.Time
	// NeverRan is whether systemd has no memory of it: since the machine started it was neither active, nor did it end.
	NeverRan bool
}

// State implements Supervisor.
func (u *Unit) State(ctx context.Context) (UnitState, error) {
	cmd := exec.CommandContext(ctx, "systemctl", "show", "--property=LoadState,ActiveState,SubState,Result,NRestarts,ActiveEnterTimestamp,"+
		"InactiveEnterTimestamp",
		"--", u.name)
	cmd.Env = append(cmd.Environ(), "TZ=UTC", "LC_ALL=C") // the time stamp's form
	cmd.WaitDelay = time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return UnitState{}, fmt.Errorf("%w. HINT: The screen must run where the server runs; without systemd use --restart.command and "+
			"--log.file", commandError(cmd, err, said.Bytes()))
	}
	return parseUnit(out.String()), nil
}

// parseUnit reads what systemctl show prints, in whatever order.
func parseUnit(text string) UnitState {
	var st UnitState
	unset := 0
	for _, line := range strings.Split(text, "\n") {
		name, value, _ := strings.Cut(line, "=")
		switch name {
		case "LoadState":
			st.Load = value
		case "ActiveState":
			st.Active = value
		case "SubState":
			st.Sub = value
		case "Result":
			st.Result = value
		case "NRestarts":
			if n, err := strconv.Atoi(value); err == nil {
				st.Restarts = &n
			}
		case "ActiveEnterTimestamp", "InactiveEnterTimestamp":
			if value == "" || value == "n/a" {
				unset++
			}
			if name != "ActiveEnterTimestamp" {
				break
			}
			if at, err := time.Parse("Mon 2006-01-02 15:04:05 MST", value); err == nil {
				st.Since = at
			}
		}
	}
	st.NeverRan = unset == 2
	if st.Active != "active" {
		st.Since = time.Time{}
	}
	return st
}

// debianUnit is a unit of Debian's and Ubuntu's postgresql-common. Its servers write to a file, and their units' journal
// has nothing but starts and stops.
var debianUnit = regexp.MustCompile(`^postgresql@([0-9.]+)-(.+?)(?:\.service)?$`)

// Log is the server's own log: Debian's file where there is one, else the unit's journal.
func (u *Unit) Log() Log {
	if m := debianUnit.FindStringSubmatch(u.name); m != nil {
		path := filepath.Join("/var/log/postgresql", "postgresql-"+m[1]+"-"+m[2]+".log")
		if _, err := os.Stat(path); err == nil || errors.Is(err, fs.ErrPermission) {
			return LogFile(path)
		}
	}
	return journal{u}
}

// journal is a unit's.
type journal struct{ unit *Unit }

// Name implements Log.
func (j journal) Name() string { return j.unit.Name() + " (its journal; for files --log.file)" }

// readable is an error where this user may not read the journal, or there is none. journalctl itself would follow for ever
// what it can't see.
func (j journal) readable(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "journalctl", "--unit="+j.unit.name, "--lines=1", "--no-pager", "--output=cat")
	cmd.WaitDelay = time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	lines := strings.TrimSpace(out.String())
	if err == nil && (said.Len() == 0 || lines != "" && lines != "-- No entries --") {
		return nil
	}
	return fmt.Errorf("%w. HINT: Root and the groups adm and systemd-journal may read it; a server that logs to files needs --log.file",
		commandError(cmd, err, said.Bytes()))
}

// commandError is why a command failed, in its own first words.
func commandError(cmd *exec.Cmd, err error, said []byte) error {
	first, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
	first = harmless(first)
	switch {
	case err == nil:
		return fmt.Errorf("%s: %s", cmd.Args[0], first)
	case first == "":
		return fmt.Errorf("%s: %w", cmd.Args[0], err)
	}
	return fmt.Errorf("%s: %w: %s", cmd.Args[0], err, strings.TrimRight(first, "."))
}
