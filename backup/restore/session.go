package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// session is the state of one restore: the maintenance session, the lock, and what was found out.
type session struct {
	*Restorer
	conn *pgx.Conn
	// maintenance is the database conn is in: one that is not swapped.
	maintenance string
	// lock keeps other jobs away; nil on a throwaway server. lockedIn is the database its session is in.
	lock     *server.Lock
	lockedIn string
	// throwaway is true on a rehearsal's server: nobody else is there, its tablespaces and locales are not the backup's.
	throwaway bool
	// broken is not nil where databases that fail are passed over.
	broken *broken
	// whole is true where a whole server is made anew, and not one of its databases.
	whole bool
	// alike are databases that every server has, and that the backup has nothing in: they get its properties, with the swap.
	alike []catalog.Database
	// beforeSwap is called when all is loaded and compared, if not nil.
	beforeSwap func()

	facts    catalog.Server
	warnings []string
}

// open connects to a database that will not be renamed, takes the lock that keeps backup jobs away,
// and removes what an interrupted restore left.
func (r *Restorer) open(ctx context.Context, swapped ...string) (*session, error) {
	s := &session{Restorer: r.prepared()}
	if err := s.takeLock(ctx); err != nil {
		return nil, err
	}
	if err := s.enter(ctx, swapped); err != nil {
		s.close()
		return nil, err
	}
	if err := s.dropLeftovers(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// prepared is a copy with the defaults filled in.
func (r *Restorer) prepared() *Restorer {
	c := *r
	c.Target = c.Target.OneServer()
	if c.Jobs == 0 {
		c.Jobs = defaultJobs
	}
	if c.Drain == 0 {
		c.Drain = defaultDrain
	}
	c.Drain = min(c.Drain, maxDrain)
	return &c
}

// takeLock takes the lock in the database postgres, or, where there is none, in the connection string's own, as a backup
// does, or in template1.
func (s *session) takeLock(ctx context.Context) (err error) {
	s.lockedIn = "postgres"
	s.lock, err = server.TakeLockIn(ctx, s.Target, s.lockedIn)
	for _, other := range []string{s.Target.Database(), "template1"} {
		if failure.Of(err) != failure.Connection {
			break
		}
		if lock, e := server.TakeLockIn(ctx, s.Target, other); e == nil || failure.Of(e) == failure.Locked {
			s.lock, s.lockedIn, err = lock, other, e
		}
	}
	if err == nil && s.lock.Note() != "" {
		s.warn("%s", s.lock.Note())
	}
	return err
}

// enter connects to a database that is not swapped and asks the server what it is.
func (s *session) enter(ctx context.Context, swapped []string) (err error) {
	if s.conn, s.maintenance, err = s.connectAside(ctx, swapped); err != nil {
		return err
	}
	if s.facts, err = server.Facts(ctx, s.conn); err != nil {
		return err
	}
	if s.facts.InRecovery {
		return failure.New(failure.Refused, "the server %s is a standby, nothing was changed", s.Target).
			WithHint("Restore into its primary.")
	}
	if s.conn.PgConn().ParameterStatus("is_superuser") == "on" {
		s.Target = s.Target.Untriggered(s.facts.Major())
	}
	return nil
}

// connectAside connects to a database that is not swapped: postgres, which a server need not have, template1, or the
// connection string's own. The error is that of the first.
func (r *Restorer) connectAside(ctx context.Context, swapped []string) (*pgx.Conn, string, error) {
	var first error
	for _, name := range []string{"postgres", "template1", r.Target.Database()} {
		if slices.Contains(swapped, name) {
			continue
		}
		conn, err := r.Target.Connect(ctx, name)
		if err == nil {
			return conn, name, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, "", first
}

func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if s.conn != nil {
		_ = s.conn.Close(ctx)
	}
	if s.lock != nil {
		s.lock.Release()
	}
}

// warn says at once what will be in the report, too.
func (s *session) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.warnings = append(s.warnings, text)
	_ = level.Warn(s.Log).Log("msg", text)
}

// notOlder refuses a backup of a newer major version than the server's, which could take a part of it at best.
func (s *session) notOlder(b catalog.Backup) error {
	from := b.Manifest.Server.Major()
	if s.facts.Major() >= from {
		return nil
	}
	return failure.New(failure.Version, "backup %s is of PostgreSQL %d, the server is %d, nothing was changed", b.ID, from, s.facts.Major()).
		WithHint("Restore into PostgreSQL %d or newer.", from)
}

// compareServers says when the backup is of another server.
func (s *session) compareServers(b catalog.Backup) {
	if w := otherServer(b, s.facts); w != "" {
		s.warn("%s", w)
	}
}

// otherServer is a sentence when a backup is not of this server, else "".
func otherServer(b catalog.Backup, here catalog.Server) string {
	there := b.Manifest.Server.SystemIdentifier
	if there == "" || here.SystemIdentifier == "" || there == here.SystemIdentifier {
		return ""
	}
	return fmt.Sprintf("backup %s is of another server (system identifier %s, this one has %s)", b.ID, there, here.SystemIdentifier)
}

// restoreFailure says that the original is untouched.
func (s *session) restoreFailure(name string, err error) error {
	err = failure.WithLocks(err, "on the server")
	reason := failure.Of(err)
	var f *failure.Error
	hint := ""
	if errors.As(err, &f) && !strings.Contains(err.Error(), f.Hint) { // else the text has it already
		hint = f.Hint
	}
	if fullDisk(err) {
		reason = failure.Space
	}
	if reason == failure.Other || reason == failure.Dump {
		reason = failure.Restore
	}
	return &failure.Error{Reason: reason, Hint: hint, Err: fmt.Errorf("restore %s: the original is untouched: %w", name, err)}
}

func exists(ctx context.Context, conn *pgx.Conn, name string) (bool, error) {
	var there bool
	err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1)`, server.Bytes(name)).Scan(&there)
	if err != nil {
		return false, fmt.Errorf("look for database %s: %w", name, err)
	}
	return there, nil
}
