package packages_test

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/tmux"
)

const width, height = 80, 24

// seat is a person before a terminal on the machine.
type seat struct {
	c *container
	x *tmux.Terminal
}

func (c *container) sit(script string) *seat {
	c.t.Helper()
	return &seat{c: c, x: tmux.New(c.t, width, height, c.enter("/bin/sh", "-c", "cd /; "+script)...)}
}

func (s *seat) types(keys ...string)        { s.c.t.Helper(); s.x.Keys(s.c.t, keys...) }
func (s *seat) sees(texts ...string) string { s.c.t.Helper(); return s.x.Shows(s.c.t, texts...) }

var recovery = regexp.MustCompile(`again after (\d+\.\d) s`)

// restarts types R and y, and compares what the screen says with systemd's own clock.
func (s *seat) restarts() {
	s.c.t.Helper()
	unit := s.c.unit()
	began := monotonic()
	s.types("R")
	s.sees("Restart unit "+unit+"?", "Every client loses its connection")
	ordered := monotonic()
	s.types("y")
	text := strings.Join(strings.Fields(s.sees("again after", "Unit "+unit+": active (running)")), " ")
	m := recovery.FindStringSubmatch(text)
	if m == nil {
		s.c.t.Fatalf("no seconds to recovery on the screen:\n%s", text)
	}
	shown, _ := strconv.ParseFloat(m[1], 64)
	usec, err := strconv.ParseFloat(s.c.run("systemctl show --value --property=ActiveEnterTimestampMonotonic "+unit), 64)
	if err != nil {
		s.c.t.Fatal(err)
	}
	active := usec / 1e6
	switch {
	case active < began:
		s.c.t.Errorf("systemd restarted nothing: active since %.1f s, R was typed at %.1f s", active, began)
	case math.Abs(ordered+shown-active) > 2:
		s.c.t.Errorf("the screen says %.1f s, systemd was done after %.1f s", shown, active-ordered)
	case shown > 30:
		s.c.t.Errorf("recovery took %.1f s, more than the 30 s promised", shown)
	}
	s.c.t.Logf("restarted from the screen: it says %.1f s, systemd was done after %.1f s", shown, active-ordered)
}

// monotonic is the kernel's clock in seconds, which containers share.
func monotonic() float64 {
	var at unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &at)
	return float64(at.Nano()) / 1e9
}

func screen(c *container) {
	unit := c.unit()
	log := "/var/log/postgresql/postgresql-" + c.version() + "-main.log"
	pid := func() string { return c.run("systemctl show --value --property=MainPID " + unit) }
	c.run("systemctl restart " + unit)
	c.follow("install.md", "PG_RELIABILITY_BACKUP_WEB_BACKUP_TOKEN_FILE", "")
	c.eventually("curl -sS http://localhost:9188/metrics", "\npg_reliability_backup_catalog_up 1\n")
	c.mustPrint("root:pg_reliability 640", "stat --format='%U:%G %a' /etc/pg_reliability/backup.token")
	c.mustPrint("", c.inside("pg_reliability_exporter", "cat /etc/pg_reliability/backup.token"))

	s := c.sit(c.block("install.md", "--backup.token-file").Script)
	s.sees("[UP]", "Unit "+unit+": active (running)", "restart count 0", "[B]ackup now")

	// Its log is Debian's file, found by the unit's name.
	s.types("l")
	s.sees("following, log of "+log, "ready to accept connections")
	_, _ = c.try(query + "'SELECT 1/0'")
	s.sees("division by zero")
	s.types("/")
	s.types("d", "i", "v", "i", "s", "i", "o", "n", "Enter")
	s.sees(`1 lines match "division"`, "> ")
	s.types("Escape") // drops the search
	s.sees("follows, log of")
	s.types("l")
	s.sees("Available")

	before := pid()
	s.types("R")
	s.sees("Restart unit "+unit+"?", "Every client loses its connection")
	s.types("n")
	s.sees("Nothing was restarted")
	if now := pid(); now != before {
		c.t.Errorf("after n the main process is %s, was %s", now, before)
	}
	s.restarts()

	// Killed, it comes back by the drop-in, and systemd counts it.
	c.run("systemctl kill --signal=KILL --kill-who=main " + unit)
	s.sees("[UP]", "active (running)", "restart count 1")
	c.mustPrint("NRestarts=1", "systemctl show --property=NRestarts "+unit)

	c.run("systemctl stop " + unit)
	s.sees("[DOWN]", "unit "+unit+": inactive (dead)")
	s.restarts()
	s.sees("[UP]", "restart count 0")

	s.types("b")
	s.sees("is made: verified")
	s.types("q")
	s.sees("exit code 0")

	// A unit that writes to the journal. Debian's umbrella unit has no server.
	s = c.sit("pg_reliability_monitor --systemd.unit=pg_reliability_backup")
	s.sees("Unit pg_reliability_backup: active (running)")
	s.types("l")
	s.sees("following, log of unit pg_reliability_backup (its journal", "backup published")
	c.run("systemctl reload-or-restart pg_reliability_backup")
	s.sees("Started pg_reliability_backup.service")
	c.run("systemctl start postgresql")
	s = c.sit("pg_reliability_monitor --systemd.unit=postgresql")
	s.sees("unit postgresql: active (exited)", "HINT: On Debian a server's own unit is postgresql@VERSION-CLUSTER")
}

func refused(c *container) {
	unit := c.unit()
	before := c.run("systemctl show --value --property=MainPID " + unit)
	c.run("useradd joe; usermod --append --groups adm joe; useradd jim")

	// A user who may read logs, and restart nothing.
	s := c.sit("runuser -u joe -- " + c.block("install.md", "\npg_reliability_monitor --systemd.unit=postgresql@15-main\n").Script)
	s.sees("[UP]", "Unit "+unit+": active (running)")
	s.types("l")
	s.sees("following", "ready to accept connections")
	s.types("l", "b")
	s.sees("No backup from here: start it with --backup.token-file")
	s.types("R")
	s.sees("Restart unit " + unit + "?")
	began := time.Now()
	s.types("y")
	s.sees("Not restarted: systemctl: ", "authentication required", "HINT: Start the screen with sudo")
	if took := time.Since(began); took > 20*time.Second {
		c.t.Errorf("the refusal took %s", took)
	}
	if now := c.run("systemctl show --value --property=MainPID " + unit); now != before {
		c.t.Errorf("the server was restarted")
	}

	// One who may not even read.
	s = c.sit("runuser -u jim -- pg_reliability_monitor --systemd.unit=" + unit)
	s.sees("[UP]", "active (running)")
	s.types("l")
	s.sees("not followed", "permission denied", "Debian: adm")
	s = c.sit("runuser -u jim -- pg_reliability_monitor --systemd.unit=pg_reliability_backup " +
		"--backup.token-file=/etc/pg_reliability/backup.token")
	s.sees("[UP]", "insufficient permissions")
	s.types("l")
	s.sees("not followed", "HINT: Root and the groups adm and systemd-journal may read it")
	s.types("b")
	s.sees("permission denied")

	s = c.sit("pg_reliability_monitor --systemd.unit=nosuch")
	s.sees("[UP]", "unit nosuch: there is no such unit. HINT: systemctl list-units --all 'postgresql*'")
	s.types("r")
	s.sees("Restart unit nosuch?")
	s.types("y")
	s.sees("Not restarted: systemctl: ", "not found")

	s = c.sit("unshare --mount sh -c 'mount -t tmpfs none /run/systemd; exec pg_reliability_monitor --systemd.unit=" + unit + "'")
	s.sees("[UP]", "System has not been booted with systemd", "HINT: The screen must run where the server runs")
	s.types("r")
	s.sees("Restart unit")
	s.types("y")
	s.sees("Not restarted: systemctl: ", "System has not been booted")
}

// crashed has a core of a server's process reported as the kernel would, whose core_pattern is the whole machine's.
func crashed(c *container) {
	deb, err := pgtest.Tool("systemd-coredump.deb", "systemd")
	if err != nil {
		c.t.Skip(err)
	}
	c.run("dpkg --install " + deb)
	c.follow("PostgresCrashRecovery.md", "coredumpctl", `
		systemctl daemon-reload; systemctl start systemd-coredump.socket
		pid=$(systemctl show --value --property=MainPID `+c.unit()+`)
		head -c 4096 /proc/$pid/exe | /usr/lib/systemd/systemd-coredump "$pid" "$(id -u postgres)" "$(id -g postgres)" 11 "$(date +%s)" 1000000 "$(hostname)"
		until coredumpctl list postgres >/dev/null 2>&1; do sleep 0.1; done`)
}
