package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// lockKey is the advisory lock of all backup jobs: the bytes "pgrelbak". sideKey is the first half of the keys of those that find
// it taken by somebody who is no job: the bytes "pgrs".
const (
	lockKey int64 = 0x706772656c62616b
	sideKey int32 = 0x70677273
)

// maintenance is where server-wide work is done: an advisory lock holds within one database.
const maintenance = "postgres"

// lockPatience is how long a lock may be held by a session that is about to vanish.
const lockPatience = time.Second

// Lock is the advisory lock that keeps two jobs from backing up the same server at once, whatever
// their repositories. It lives in a session of its own.
//
// Any role that may connect can take any advisory lock, and so could stop all backups. So a lock counts only if its holder may make
// backups: a superuser, a member of pg_read_all_data, or the job's own role. A job that finds the lock with somebody else takes
// another one, with a number that nobody can know before, and looks whether there is a job that has either. Of two that do so in the
// same moment each sees the other, and one of them, or both, tries again.
type Lock struct {
	conn    *pgx.Conn
	ignored string // the session that holds the lock and can't be a job's
}

// TakeLock takes the lock in the database postgres, or in the connection string's own where there is
// none. A lock that is held is an error of reason failure.Locked.
func TakeLock(ctx context.Context, t Target) (*Lock, error) {
	lock, err := TakeLockIn(ctx, t, maintenance)
	if failure.Of(err) == failure.Connection {
		if other, e := TakeLockIn(ctx, t, ""); e == nil || failure.Of(e) == failure.Locked {
			return other, e
		}
	}
	return lock, err
}

// TakeLockIn takes the lock from a session in the given database. An advisory lock holds within one
// database: whoever can't use "postgres" is not kept apart from those that can.
func TakeLockIn(ctx context.Context, t Target, database string) (*Lock, error) {
	conn, err := t.Connect(ctx, database)
	if err != nil {
		return nil, err
	}
	l := &Lock{conn: conn}
	// The session of a job that just ended, or was killed, takes a moment to vanish.
	for deadline := time.Now().Add(lockPatience); ; {
		rival, err := l.try(ctx)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("take the advisory lock: %w", err), conn.Close(context.WithoutCancel(ctx)))
		}
		if rival.PID == 0 {
			return l, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return nil, errors.Join(rival.locked(), conn.Close(context.WithoutCancel(ctx)))
		}
		select {
		case <-ctx.Done():
		case <-time.After(30*time.Millisecond + rand.N(40*time.Millisecond)): //nolint:gosec // so that two that saw each other part
		}
	}
}

// holder is a session that holds one of the locks; without a PID it is none.
type holder struct {
	PID  int
	Role string
	Job  bool // it may be a job's
	Main bool // it has the lock itself
}

// try takes the lock, or the other one where somebody who is no job has it. It returns a job that has either, and then holds none.
func (l *Lock) try(ctx context.Context) (rival holder, err error) {
	var got bool
	if err := l.conn.QueryRow(ctx, `SELECT pg_catalog.pg_try_advisory_lock($1)`, lockKey).Scan(&got); err != nil {
		return holder{}, err
	}
	for !got {
		number := rand.Int32() //nolint:gosec // no secret: whoever sees it in pg_locks can't take it any more
		if err := l.conn.QueryRow(ctx, `SELECT pg_catalog.pg_try_advisory_lock($1, $2)`, sideKey, number).Scan(&got); err != nil {
			return holder{}, err
		}
	}
	rows, err := l.conn.Query(ctx, `
		SELECT l.pid, pg_catalog.quote_ident(r.rolname) AS role,
		       r.rolsuper OR r.rolname = session_user OR EXISTS (
		         SELECT FROM pg_catalog.pg_roles m WHERE m.rolname = 'pg_read_all_data' AND pg_catalog.pg_has_role(r.oid, m.oid, 'MEMBER')
		       ) AS job, l.objsubid = 1 AS main
		  FROM pg_catalog.pg_locks l
		  JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
		  JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
		 WHERE l.locktype = 'advisory' AND l.granted AND l.pid <> pg_catalog.pg_backend_pid()
		   AND (l.objsubid = 1 AND l.classid = $1 AND l.objid = $2 OR l.objsubid = 2 AND l.classid = $3)
		   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
		 ORDER BY job DESC, main DESC
		 LIMIT 1`, uint32(lockKey>>32), uint32(lockKey&0xffffffff), uint32(sideKey))
	if err != nil {
		return holder{}, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[holder])
	if err != nil {
		return holder{}, err
	}
	l.ignored = ""
	for _, h := range found {
		if h.Job {
			_, err := l.conn.Exec(ctx, `SELECT pg_catalog.pg_advisory_unlock_all()`)
			return h, err
		}
		if h.Main {
			l.ignored = fmt.Sprintf("role %s, process %d of the server", Text(h.Role), h.PID)
		}
	}
	return holder{}, nil
}

// locked is the error that a job has the lock. It names the session.
func (h holder) locked() error {
	return failure.New(failure.Locked, "another backup job works on this server (role %s, process %d of the server, holds advisory lock %d)",
		Text(h.Role), h.PID, lockKey).
		WithHint("If %s runs no backup job: SELECT pg_terminate_backend(%d); and keep it out of the database with REVOKE CONNECT.",
			Text(h.Role), h.PID)
}

// Note is what to say of who has the lock and was ignored; "" is nothing.
func (l *Lock) Note() string {
	if l.ignored == "" {
		return ""
	}
	return "the advisory lock of backup jobs is held by somebody who can make no backup, and is ignored: " + l.ignored
}

// Release gives the lock back.
func (l *Lock) Release() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, _ = l.conn.Exec(ctx, `SELECT pg_catalog.pg_advisory_unlock_all()`) // now, not when the session is gone
	_ = l.conn.Close(ctx)
}
