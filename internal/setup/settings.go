package setup

import (
	"context"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/internal/datasource"
)

const (
	shippedAddress = "localhost:5432"
	source         = "DATA_SOURCE_URI"
	volume         = "PG_RELIABILITY_EXPORTER_VOLUME"
	probeWrite     = "PG_RELIABILITY_EXPORTER_PROBE_WRITE"
	catalogue      = "PG_RELIABILITY_EXPORTER_BACKUP_CATALOG"
	repository     = "PG_RELIABILITY_BACKUP_REPOSITORY"
)

// settings brings the services' files in line with what is set up, makes what belongs to them in the server, and logs in as they do.
func (s *setup) settings(ctx context.Context) error {
	for _, f := range []*settings{s.exporter, s.backup} {
		if f == nil {
			continue
		}
		if err := s.aim(f); err != nil {
			return err
		}
	}
	if s.Local && s.dataDir != "" {
		if err := s.unlessSet(s.exporter, volume, "data="+s.dataDir); err != nil {
			return err
		}
	}
	if i := s.exporter.find(catalogue); !s.Backups && i >= 0 {
		if err := s.edit(s.exporter, "#"+s.exporter.lines[i], i); err != nil {
			return err
		}
	}
	if s.Heartbeat {
		// Of the exporter's own connection; in a dry run its password may not be there yet.
		t, err := target(s.exporter, func(name string) bool { return !strings.HasPrefix(name, "DATA_SOURCE_PASS") })
		if err != nil {
			return err
		}
		if err := s.heartbeat(ctx, t.Database()); err != nil {
			return err
		}
		if err := s.unlessSet(s.exporter, probeWrite, "true"); err != nil {
			return err
		}
	}
	return s.logins(ctx)
}

// aim makes a service's settings lead to the server. An address that somebody chose is kept.
func (s *setup) aim(f *settings) error {
	uri, ok := f.lookup(source)
	if !ok {
		s.note("%s does not set %s: which server it means is left to you", f.file, source)
		return nil
	}
	address, rest, _ := strings.Cut(uri, "/")
	switch address {
	case s.address:
		s.kept("%s leads to %s", f.file, s.address)
		return nil
	case shippedAddress:
		return s.edit(f, source+"="+s.address+"/"+rest, f.find(source))
	}
	return failure.New(failure.Config, "%s leads to %s, and the server that is set up is %s", f.file, address, s.address).
		WithHint("Change %s there, or name that server to setup with PGHOST and PGPORT, or DATA_SOURCE_NAME.", source)
}

func (s *setup) unlessSet(f *settings, name, value string) error {
	if is, ok := f.lookup(name); ok {
		s.kept("%s says %s=%s", f.file, name, is)
		return nil
	}
	return s.edit(f, name+"="+value, -1)
}

// edit writes one line of a file of settings, in place of another or at the end.
func (s *setup) edit(f *settings, line string, at int) error {
	what, args := "write into %s: %s", []any{f.file, line}
	if at >= 0 {
		what, args = "write into %s: %s (it was %s)", []any{f.file, line, f.lines[at]}
	}
	return s.change(func() error {
		f.put(line, at)
		return s.write(f.file, strings.Join(f.lines, "\n")+"\n")
	}, what, args...)
}

// target is the server as those of a service's settings name it that a function takes.
func target(f *settings, takes func(name string) bool) (server.Target, error) {
	text, err := datasource.Variables(func(name string) (string, bool) {
		if !takes(name) {
			return "", false
		}
		return f.lookup(name)
	}).ConnectionString()
	if err != nil {
		return server.Target{}, failure.New(failure.Config, "%s: %w", f.file, err)
	}
	return server.Parse(text, nil)
}

// logins tries what the services will do first.
func (s *setup) logins(ctx context.Context) error {
	if s.dry && s.changes > 0 {
		return nil
	}
	for _, f := range []*settings{s.exporter, s.backup} {
		if f == nil {
			continue
		}
		t, err := target(f, func(string) bool { return true })
		if err != nil {
			return err
		}
		conn, err := t.Connect(ctx, "")
		if err != nil {
			return failure.New(failure.Of(err), "log in as %s says, with the role and password that are there: %w", f.file, err).
				WithHint("Often pg_hba.conf has no line for this role: it needs one with scram-sha-256 for %s.", s.address)
		}
		s.kept("%s can log in", t)
		if err := conn.Close(ctx); err != nil {
			return err
		}
	}
	return nil
}
