package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/properties"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

const (
	// swapTimeout ends one try whatever hangs, the network included.
	swapTimeout = 30 * time.Second
	// swapTries is how often others' locks and sessions may be in the way.
	swapTries = 6
	// queuedTries is how many of them begin by making new connections wait.
	queuedTries = 4
	// lockPatience is how long a try waits for a lock: new connections wait behind it.
	lockPatience = 300 * time.Millisecond
	// swapReserve is what the renames may take when the last session of the old databases is gone.
	swapReserve = 500 * time.Millisecond
)

// errSessions: sessions of a database outlasted the drain.
var errSessions = errors.New("sessions are left")

// swap gives all places their names in one transaction.
//
// A client that lost its session comes back at once. If it found the old name gone, or the old
// database still there, it would fail or be thrown out again. So new connections are first made to
// queue at the server, by a lock on pg_database, which each reads before anything else: they go on
// after the commit and find the new database. That lock takes a superuser; without one, a client may
// need a second attempt.
//
// New connections to every database of the server wait for that lock, so that it is held, and waited for, no longer than
// Drain and a little. Where that does not suffice, it is given back before the next try.
func (s *session) swap(ctx context.Context, places []*place) error {
	for _, p := range places {
		if p.as == s.lockedIn && s.lock != nil { // the session with the advisory lock sits in it
			s.lock.Release()
			s.lock = nil
		}
	}
	for try, grace := 1, s.Drain; ; try, grace = try+1, 0 {
		err := s.trySwap(ctx, places, grace, try <= queuedTries)
		if err == nil || ctx.Err() != nil || !passing(err) {
			return err
		}
		if try == swapTries {
			return failure.New(failure.Restore, "%w", err).WithHint("%s", s.inTheWay(ctx, places))
		}
		_ = level.Warn(s.Log).Log("msg", "the swap is tried again", "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(try) * 200 * time.Millisecond): // let those in who waited
		}
	}
}

// passing says whether a failed swap, which changed nothing, may well succeed at once.
func passing(err error) bool {
	if errors.Is(err, errSessions) {
		return true
	}
	switch sqlState(err) {
	case "55006", // object_in_use: a session that outlasted the server's patience
		"55P03", "57014", // lock_not_available, query_canceled: ours, by lock_timeout and statement_timeout
		"40P01": // deadlock_detected: a session with a lock on the database waits for pg_database, which we hold
		return true
	}
	return false
}

// inTheWay names who has what the swap needs.
func (s *session) inTheWay(ctx context.Context, places []*place) string {
	var names []string
	for _, p := range places {
		names = append(names, server.Bytes(p.as))
	}
	var who *string
	err := s.conn.QueryRow(ctx, `
		SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('pid %s, user %s, application %s', a.pid, a.usename, a.application_name), '; ')
		  FROM pg_catalog.pg_stat_activity a
		  LEFT JOIN pg_catalog.pg_locks l ON l.pid = a.pid AND l.granted AND (l.relation = 'pg_catalog.pg_database'::regclass
		            OR l.locktype = 'object' AND l.classid = 'pg_catalog.pg_database'::regclass)
		 WHERE a.pid <> pg_catalog.pg_backend_pid() AND (l.pid IS NOT NULL OR a.datname = ANY ($1))`, names).Scan(&who)
	if err != nil || who == nil {
		return "Try again when nobody works on the server's databases."
	}
	return "In the way may be: " + *who + ". End these sessions, or try again when they are gone."
}

// databaseIDs are what a swap works on.
type databaseIDs struct {
	beside, old uint32 // old is 0 when nothing stands in the place
	looker      *pgx.Conn
}

func (s *session) trySwap(ctx context.Context, places []*place, grace time.Duration, queue bool) error {
	ctx, cancel := context.WithTimeout(ctx, swapTimeout)
	defer cancel()
	ids, err := s.identify(ctx, places)
	defer func() {
		for _, id := range ids {
			if id.looker != nil {
				_ = id.looker.Close(context.WithoutCancel(ctx))
			}
		}
	}()
	if err != nil {
		return err
	}
	drainer, err := s.Target.Connect(ctx, s.maintenance)
	if err != nil {
		return err
	}
	defer func() { _ = drainer.Close(context.WithoutCancel(ctx)) }()
	tx, err := s.conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("swap: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	for _, set := range []string{
		fmt.Sprintf("SET LOCAL lock_timeout = %d", lockPatience.Milliseconds()),
		"SET LOCAL synchronous_commit = local", // a standby that is gone must not keep everybody waiting
	} {
		if err := sqltext.Exec(ctx, tx.Conn(), set); err != nil {
			return fmt.Errorf("swap: %w", err)
		}
	}
	for _, p := range places {
		if err := s.finish(ctx, tx, p); err != nil {
			return err
		}
	}
	var notes []string
	for _, db := range s.alike {
		n, err := properties.Apply(ctx, tx.Conn(), db.Name, db)
		if err != nil {
			return err
		}
		notes = append(notes, n...)
	}
	began := s.Now()
	queued := false
	if queue {
		if queued, err = s.queueConnections(ctx, tx); err != nil {
			return err
		}
	}
	until := time.Now().Add(grace + swapReserve)
	if err := s.rename(ctx, tx, drainer, places, ids, grace, until, queued); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		if !s.committed(ctx, ids, places) {
			return fmt.Errorf("swap: %w", err)
		}
	}
	for i, p := range places {
		notes = append(notes, p.notes...)
		p.seconds = s.Now().Sub(began).Seconds()
		if ids[i].old != 0 {
			p.kept = p.keepAs
		}
	}
	for _, note := range notes {
		s.warn("could not be restored: %s", note)
	}
	return nil
}

// identify finds the databases by number, and opens a session in each that must be empty: later, new ones have to wait.
func (s *session) identify(ctx context.Context, places []*place) (ids []databaseIDs, err error) {
	for _, p := range places {
		var id databaseIDs
		err := s.conn.QueryRow(ctx, `
			SELECT coalesce(max(oid) FILTER (WHERE datname = $1), 0), coalesce(max(oid) FILTER (WHERE datname = $2), 0)
			  FROM pg_catalog.pg_database`, p.beside, server.Bytes(p.as)).Scan(&id.beside, &id.old)
		if err == nil && id.beside == 0 {
			err = errors.New("it is gone")
		}
		if err != nil {
			return ids, fmt.Errorf("look for database %s: %w", p.beside, err)
		}
		if id.old != 0 {
			st, err := standing(ctx, s.conn, p.as)
			if err != nil {
				return ids, err
			}
			if st != nil {
				if err := st.refusal(p.dropOld); err != nil {
					return ids, err
				}
			}
			if p.vacant {
				if id.looker, err = s.Target.Connect(ctx, p.as); err == nil {
					err = stillVacant(ctx, id.looker, p.as) // now, so that it is quick later, and reads no locked catalogue
				}
			}
			if err != nil {
				return append(ids, id), err
			}
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// stillVacant looks whether somebody made something in a database that was taken for empty.
func stillVacant(ctx context.Context, conn *pgx.Conn, name string) error {
	what, err := contents.AnythingOfUsers(ctx, conn)
	if err != nil {
		return fmt.Errorf("look for data in database %s: %w", name, err)
	}
	if what != "" {
		return failure.New(failure.Refused, "database %s was empty and now holds %s: it stays, nothing was changed", name, what).
			WithHint("Restore beside it: `pg_reliability_backup restore --database=%s`.", name)
	}
	return nil
}

// rename moves what stands in the places aside and gives the new databases their names. Where new connections are
// queued, the old databases' sessions are ended first; where they are not, while the rename waits for them, which has
// its database locked.
func (s *session) rename(ctx context.Context, tx pgx.Tx, drainer *pgx.Conn, places []*place, ids []databaseIDs,
	grace time.Duration, until time.Time, queued bool) error {
	var databases []uint32
	var lookers []uint32
	for _, id := range ids {
		databases = append(databases, id.beside)
		if id.old != 0 {
			databases = append(databases, id.old)
		}
		if id.looker != nil {
			lookers = append(lookers, id.looker.PgConn().PID())
		}
	}
	if queued {
		if err := drain(ctx, drainer, databases, lookers, grace, until); err != nil {
			return err
		}
	}
	for i, p := range places {
		if ids[i].looker == nil {
			continue
		}
		if err := stillVacant(ctx, ids[i].looker, p.as); err != nil {
			return err
		}
		_ = ids[i].looker.Close(ctx)
	}
	if len(lookers) > 0 {
		if err := drain(ctx, drainer, databases, nil, 0, until); err != nil {
			return err
		}
	}
	drained := make(chan error, 1)
	drainCtx, stop := context.WithCancel(ctx)
	defer stop()
	if queued {
		drained <- nil
	} else {
		go func() { drained <- drain(drainCtx, drainer, databases, nil, grace, until) }()
	}
	err := s.renameAll(ctx, tx, places, ids, until)
	stop()
	if drainErr := <-drained; err != nil && failure.Of(drainErr) == failure.Permission {
		return drainErr
	}
	return err
}

func (s *session) renameAll(ctx context.Context, tx pgx.Tx, places []*place, ids []databaseIDs, until time.Time) error {
	for i, p := range places {
		if ids[i].old != 0 {
			if err := renameOne(ctx, tx, p.as, p.keepAs, until); err != nil {
				return err
			}
		}
		if err := renameOne(ctx, tx, p.beside, p.as, until); err != nil {
			return err
		}
	}
	return nil
}

// renameOne renames a database within the time that is left: the server itself would wait for 5 s for its sessions.
func renameOne(ctx context.Context, tx pgx.Tx, from, to string, until time.Time) error {
	left := max(time.Until(until), 50*time.Millisecond)
	if err := sqltext.Exec(ctx, tx.Conn(), fmt.Sprintf("SET LOCAL statement_timeout = %d", left.Milliseconds())); err != nil {
		return fmt.Errorf("rename database %s: %w", from, err)
	}
	if err := sqltext.Exec(ctx, tx.Conn(), "ALTER DATABASE "+server.Quote(from)+" RENAME TO "+server.Quote(to)); err != nil {
		return fmt.Errorf("rename database %s to %s: %w", from, to, err)
	}
	return nil
}

// committed says, after a COMMIT that was not answered, whether it was done.
func (s *session) committed(ctx context.Context, ids []databaseIDs, places []*place) bool {
	conn, err := s.Target.Connect(ctx, s.maintenance)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var name string
	if len(places) == 0 {
		return false
	}
	err = conn.QueryRow(ctx, `SELECT datname FROM pg_catalog.pg_database WHERE oid = $1`, ids[0].beside).Scan(&name)
	return err == nil && name == server.Bytes(places[0].as)
}

// queueConnections makes new connections wait until the transaction's end. False: the role may not.
func (s *session) queueConnections(ctx context.Context, tx pgx.Tx) (bool, error) {
	sub, err := tx.Begin(ctx)
	if err != nil {
		return false, fmt.Errorf("swap: %w", err)
	}
	_, err = sub.Exec(ctx, "LOCK TABLE pg_catalog.pg_database IN ACCESS EXCLUSIVE MODE")
	if err == nil {
		return true, sub.Commit(ctx)
	}
	if rerr := sub.Rollback(ctx); rerr != nil || failure.Of(err) != failure.Permission {
		return false, fmt.Errorf("make new connections wait: %w", errors.Join(err, rerr))
	}
	_ = level.Info(s.Log).Log("msg", "without a superuser, clients that reconnect during the swap may fail once", "user", s.conn.Config().User)
	return false, nil
}

// drain ends the databases' sessions, but for those it spares, and returns when there are none: those between
// transactions at once, so that no work is lost, the others after the grace. It reads no catalogue that may be locked.
// Autovacuum's are left to the rename, which ends them.
func drain(ctx context.Context, conn *pgx.Conn, databases, spared []uint32, grace time.Duration, until time.Time) error {
	began := time.Now()
	if spared == nil {
		spared = []uint32{}
	}
	for {
		var left []string
		err := conn.QueryRow(ctx, `
			SELECT coalesce(array_agg(pg_catalog.format('pid %s of user %s', s.pid, pg_catalog.pg_get_userbyid(s.usesysid))), '{}')
			  FROM (SELECT a.pid, a.usesysid,
			               CASE WHEN $2 OR a.backend_type <> 'client backend' OR a.state IN ('idle', 'disabled')
			                    THEN pg_catalog.pg_terminate_backend(a.pid) END
			          FROM pg_catalog.pg_stat_get_activity(NULL) AS a
			         WHERE a.datid = ANY ($1::oid[]) AND a.pid <> pg_catalog.pg_backend_pid() AND a.pid <> ALL ($3::int8[])
			           AND a.backend_type <> 'autovacuum worker' OFFSET 0) AS s`,
			databases, time.Since(began) >= grace, spared).Scan(&left)
		if failure.Of(err) == failure.Permission {
			return failure.New(failure.Permission, "end the old database's sessions: %w", err).
				WithHint("Restore as a superuser, or as a member of pg_signal_backend.")
		}
		if err != nil {
			return fmt.Errorf("end the old database's sessions: %w", err)
		}
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("end the old database's sessions: %w: %s", errSessions, strings.Join(left[:min(len(left), 5)], ", "))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end the old database's sessions: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}
