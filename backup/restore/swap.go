package restore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/properties"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// Swap puts one database into the place of another.
type Swap struct {
	New    string // the finished database beside
	Name   string // the name it gets
	KeepAs string // the name a database of that name gets
	// Database is what it is given owner, settings and privileges from; none when its Name is "".
	Database catalog.Database

	Kept    string  // set when there was one
	Seconds float64 // how long new connections had to wait

	oldOID uint32
}

const (
	// swapTimeout ends a swap that can't get on, so that clients never queue behind it for longer.
	swapTimeout = 20 * time.Second
	// swapTries is how often sessions may outlast the server's own patience with a rename, or others' locks be in the way.
	swapTries = 3
)

// swap renames all in one transaction.
//
// A client that lost its session comes back at once. If it found the old name gone, or the old
// database still there, it would fail or be thrown out again. So new connections are first made to
// queue at the server, by a lock on pg_database, which each reads before anything else: they go on
// after the commit and find the new database. That lock takes a superuser; without one, a client may
// need a second attempt.
func (s *session) swap(ctx context.Context, swaps []*Swap) error {
	for _, sw := range swaps {
		if sw.Name == "postgres" { // the session with the advisory lock sits in it
			s.lock.Release()
		}
	}
	for try, grace := 1, s.Drain; ; try, grace = try+1, 0 {
		err := s.trySwap(ctx, swaps, grace)
		if err == nil || try == swapTries || ctx.Err() != nil || !passing(err) {
			return err
		}
		_ = level.Warn(s.Log).Log("msg", "the swap is tried again", "err", err)
	}
}

// passing says whether a failed swap, which changed nothing, may well succeed at once.
func passing(err error) bool {
	switch sqlState(err) {
	case "55006", // object_in_use: a session that outlasted the server's patience
		"40P01": // deadlock_detected: a session with a lock on the database waits for pg_database, which we hold
		return true
	}
	return false
}

func (s *session) trySwap(ctx context.Context, swaps []*Swap, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, swapTimeout)
	defer cancel()
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
	if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '10s'"); err != nil {
		return fmt.Errorf("swap: %w", err)
	}
	for _, sw := range swaps {
		if err := s.prepare(ctx, tx, sw); err != nil {
			return err
		}
	}
	began := s.Now()
	queued, err := s.queueConnections(ctx, tx)
	if err != nil {
		return err
	}
	for _, sw := range swaps {
		if sw.oldOID != 0 {
			if queued {
				err = drain(ctx, drainer, sw.oldOID, grace)
			}
			if err == nil {
				err = s.rename(ctx, tx, drainer, sw, queued)
			}
			if err != nil {
				return err
			}
			sw.Kept = sw.KeepAs
		}
		if _, err := tx.Exec(ctx, "ALTER DATABASE "+server.Quote(sw.New)+" RENAME TO "+server.Quote(sw.Name)); err != nil {
			return fmt.Errorf("rename database %s to %s: %w", sw.New, sw.Name, err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("swap: %w", err)
	}
	for _, sw := range swaps {
		sw.Seconds = s.Now().Sub(began).Seconds()
	}
	return nil
}

// prepare finishes the new database and looks for the old one.
func (s *session) prepare(ctx context.Context, tx pgx.Tx, sw *Swap) error {
	sw.Kept, sw.oldOID = "", 0
	if s.NoOwner || sw.Database.Name == "" {
		if _, err := tx.Exec(ctx, "COMMENT ON DATABASE "+server.Quote(sw.New)+" IS NULL"); err != nil {
			return fmt.Errorf("finish database %s: %w", sw.New, err)
		}
	} else {
		notes, err := properties.Apply(ctx, tx.Conn(), sw.New, sw.Database)
		if err != nil {
			return err
		}
		s.warn(notes)
	}
	err := tx.QueryRow(ctx, `SELECT oid FROM pg_catalog.pg_database WHERE datname = $1`, server.Bytes(sw.Name)).Scan(&sw.oldOID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("look for database %s: %w", sw.Name, err)
	}
	return nil
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

// rename renames the old database. Where new connections are not queued, its sessions are drained
// while the rename, which has the database locked, waits for them.
func (s *session) rename(ctx context.Context, tx pgx.Tx, drainer *pgx.Conn, sw *Swap, queued bool) error {
	drained := make(chan error, 1)
	drainCtx, stop := context.WithCancel(ctx)
	defer stop()
	if queued {
		drained <- nil
	} else {
		go func() { drained <- drain(drainCtx, drainer, sw.oldOID, s.Drain) }()
	}
	_, err := tx.Exec(ctx, "ALTER DATABASE "+server.Quote(sw.Name)+" RENAME TO "+server.Quote(sw.KeepAs))
	stop()
	drainErr := <-drained
	if err == nil {
		return nil
	}
	if drainErr != nil && !errors.Is(drainErr, context.Canceled) {
		return drainErr
	}
	return fmt.Errorf("rename database %s to %s: %w", sw.Name, sw.KeepAs, err)
}

// drain ends a database's sessions and returns when there are none: those between transactions at
// once, so that no work is lost, the others after the grace. It reads no catalogue that may be locked.
func drain(ctx context.Context, conn *pgx.Conn, database uint32, grace time.Duration) error {
	began := time.Now()
	for {
		var left int
		err := conn.QueryRow(ctx, `
			SELECT pg_catalog.count(*)::int
			  FROM (SELECT CASE WHEN $2 OR a.backend_type <> 'client backend' OR a.state IN ('idle', 'disabled')
			                    THEN pg_catalog.pg_terminate_backend(a.pid) END
			          FROM pg_catalog.pg_stat_get_activity(NULL) AS a
			         WHERE a.datid = $1 AND a.pid <> pg_catalog.pg_backend_pid() OFFSET 0) AS s`,
			database, time.Since(began) >= grace).Scan(&left)
		if failure.Of(err) == failure.Permission {
			return failure.New(failure.Permission, "end the old database's sessions: %w", err).
				WithHint("Restore as a superuser, or as a member of pg_signal_backend.")
		}
		if err != nil {
			return fmt.Errorf("end the old database's sessions: %w", err)
		}
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end the old database's sessions: %d are left: %w", left, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}
