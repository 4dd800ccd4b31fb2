// Package setup prepares a machine on which the package is installed: the roles and their passwords, the services' settings, the
// repository, the services themselves. It changes what is missing, says each thing that it changes, and keeps what is there: run
// again, it finds nothing to do. With Options.DryRun it only looks.
package setup

import (
	"context"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// Options say what is wanted.
type Options struct {
	// Admin is the server to watch, as a superuser of it. Local says that it is this machine's, so that its disks can be watched.
	Admin server.Target
	Local bool

	// ConfigDir holds exporter.env and backup.env, and gets the passwords: /etc/pg_reliability.
	ConfigDir string
	// User runs both services: pg_reliability.
	User string

	// Sequences lets the exporter read how far sequences have come, in each database. Heartbeat makes the table of the write probe
	// and switches that on. Backups prepares the backup job, too.
	Sequences, Heartbeat, Backups bool
	// NewPasswords allows that a role that has a password gets another one.
	NewPasswords bool
	// Start enables and starts the services, where systemd runs.
	Start bool
	// Prometheus is a prometheus.yml to complete, Grafana a provisioning directory; empty is none.
	Prometheus, Grafana string

	DryRun bool
	Out    io.Writer
	// AsUser runs this program with other arguments as another user of this machine.
	AsUser func(ctx context.Context, uid, gid int, args ...string) (string, error)
}

// setup is one run.
type setup struct {
	Options
	report
	uid, gid int
	exporter *settings
	backup   *settings
	version  int    // server_version_num
	dataDir  string // the server's
	address  string // host:port, as the services reach it
	started  bool   // the services run
}

// Run does all of it. An error says what could not be done; what was done before it stays, and the next run goes on from there.
func Run(ctx context.Context, o Options) error {
	s := &setup{Options: o, report: report{out: o.Out, dry: o.DryRun}}
	for _, step := range []func(context.Context) error{
		s.lookAtTheMachine, s.server, s.settings, s.makeRepository, s.services, s.monitoring,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	s.summary()
	s.next()
	return nil
}

// lookAtTheMachine finds what the package has brought.
func (s *setup) lookAtTheMachine(context.Context) error {
	if os.Geteuid() != 0 {
		return failure.New(failure.Config, "setup writes below %s and becomes the database's administrator: it must be root", s.ConfigDir).
			WithHint("Run it with sudo.")
	}
	u, err := user.Lookup(s.User)
	if err != nil {
		return failure.New(failure.Config, "there is no user %s, whom the services run as", s.User).
			WithHint("Install the package pg-reliability first, or the programs and their units as docs/install.md says.")
	}
	if s.uid, err = strconv.Atoi(u.Uid); err != nil {
		return err
	}
	if s.gid, err = strconv.Atoi(u.Gid); err != nil {
		return err
	}
	if s.exporter, err = readSettings(filepath.Join(s.ConfigDir, "exporter.env")); err != nil {
		return err
	}
	if s.Backups {
		s.backup, err = readSettings(filepath.Join(s.ConfigDir, "backup.env"))
	}
	return err
}
