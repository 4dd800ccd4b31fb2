package setup

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

const (
	exporterUnit = "pg_reliability_exporter"
	backupUnit   = "pg_reliability_backup"
	readyPath    = "/api/health/ready"
	startPeriod  = time.Minute
	askPeriod    = 5 * time.Second
	askAgain     = 200 * time.Millisecond
	answerLimit  = 64 << 10
)

// makeRepository makes the place for the backups, as the user whom the job runs as.
func (s *setup) makeRepository(ctx context.Context) error {
	if !s.Backups {
		return nil
	}
	dir, ok := s.backup.lookup(repository)
	if !ok {
		return failure.New(failure.Config, "%s does not set %s", s.backup.file, repository)
	}
	if of, _ := s.exporter.lookup(catalogue); of != dir {
		s.note("the exporter looks for backups in %q, and the job keeps them in %s: see %s in %s", of, dir, catalogue, s.exporter.file)
	}
	if _, err := catalog.Open(dir); err == nil {
		s.kept("the repository %s", dir)
		return nil
	}
	if _, err := os.Stat(dir); err != nil {
		return failure.New(failure.Repository, "the directory of the backups: %w", err).
			WithHint("Mount it, or make it: install -d -m 700 -o %s -g %s %s", s.User, s.User, dir)
	}
	return s.change(func() error {
		said, err := s.AsUser(ctx, s.uid, s.gid, "--repository="+dir, "init")
		if err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(said))
		}
		return nil
	}, "make the repository %s", dir)
}

// services enables and starts them, and looks whether the exporter finds the database fit for use.
func (s *setup) services(ctx context.Context) error {
	units := []string{exporterUnit}
	if s.Backups {
		units = append(units, backupUnit)
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil || !s.Start {
		s.note("no service was started: start %s when you like", strings.Join(units, " and "))
		return nil //nolint:nilerr // systemd does not run here
	}
	for _, unit := range units {
		enabled, active := systemctl(ctx, "is-enabled", unit) == nil, systemctl(ctx, "is-active", unit) == nil
		f := s.exporter
		if unit == backupUnit {
			f = s.backup
		}
		var err error
		switch {
		case enabled && active && f.changed:
			err = s.change(func() error { return systemctl(ctx, "restart", unit) }, "restart %s, for its settings have changed", unit)
		case enabled && active:
			s.kept("%s runs, and starts with the machine", unit)
		default:
			err = s.change(func() error { return systemctl(ctx, "enable", "--now", unit) }, "start %s, now and with the machine", unit)
		}
		if err != nil {
			return failure.New(failure.Other, "%w", err).WithHint("journalctl -u %s says why.", unit)
		}
	}
	if s.dry {
		return nil
	}
	s.started = true
	return s.ready(ctx)
}

func systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", append(args, "--quiet")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// ready asks the exporter until it says that the database takes reads and logins.
func (s *setup) ready(ctx context.Context) error {
	if file, ok := s.exporter.lookup("PG_RELIABILITY_EXPORTER_WEB_CONFIG_FILE"); ok {
		s.note("whether the exporter is ready was not asked: %s guards it", file)
		return nil
	}
	url := "http://" + net.JoinHostPort("localhost", s.exporterPort()) + readyPath
	ctx, stop := context.WithTimeout(ctx, startPeriod)
	defer stop()
	for {
		answer, err := ask(ctx, url)
		if err == nil {
			s.kept("the exporter answers at %s: the database takes reads and logins", url)
			return nil
		}
		select {
		case <-ctx.Done():
			return failure.New(failure.Connection, "the exporter runs, and says that the database is not fit for use: %s: %w", answer, err).
				WithHint("journalctl -u %s has the reason and the remedy.", exporterUnit)
		case <-time.After(askAgain):
		}
	}
}

// next says where a person goes from here, once something runs.
func (s *setup) next() {
	if s.dry || !s.started {
		return
	}
	say := func(format string, args ...any) { s.line("", fmt.Sprintf(format, args...)) }
	say("")
	say("Look:   http://localhost:%s/ is the status page; pg_reliability_monitor shows the same in a terminal.", s.exporterPort())
	if dir, ok := s.backup.lookup(repository); s.Backups && ok {
		say("Backup: the first one is made, restored and compared by itself. This lists it, as verified in the end:")
		say("        cd / && runuser -u %s -- pg_reliability_backup --repository=%s list", s.User, dir)
	}
	say("Alerts: they reach nobody until Alertmanager has your receivers: LAUNCH_GUIDE.md, step 6.")
}

// ask returns why an exporter is not ready, from its answer.
func ask(ctx context.Context, url string) (string, error) {
	ctx, stop := context.WithTimeout(ctx, askPeriod)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "no answer", err
	}
	defer func() { _ = resp.Body.Close() }()
	var said struct {
		Reason string `json:"reason"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, answerLimit)).Decode(&said)
	if resp.StatusCode != http.StatusOK {
		return catalog.Printable(said.Reason), fmt.Errorf("%s says %s", url, resp.Status)
	}
	return "", err
}

// exporterPort and backupPort are where the services listen.
func (s *setup) exporterPort() string {
	return port(s.exporter, "PG_RELIABILITY_EXPORTER_WEB_LISTEN_ADDRESS", "9187")
}
func (s *setup) backupPort() string {
	return port(s.backup, "PG_RELIABILITY_BACKUP_WEB_LISTEN_ADDRESS", "9188")
}

func port(f *settings, name, usual string) string {
	address, _ := f.lookup(name)
	if _, p, err := net.SplitHostPort(address); err == nil && p != "" {
		return p
	}
	return usual
}
