package pgdump

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// attempt is one try at the archive of one database. Beside pg_dump it has two sessions: one holds the snapshot that
// both read, in a transaction without a lock on any table; the other counts, in transactions of a few tables each, and
// looks what happened to the tables. So the server holds no more locks than for pg_dump alone, but for those few.
//
// PostgreSQL's snapshots do not cover a table's file: who rewrites a table after the snapshot was taken (TRUNCATE, most
// ALTER TABLE, VACUUM FULL) and before pg_dump has locked it gives pg_dump another file to read, and but for VACUUM FULL and
// CLUSTER its rows are invisible in the snapshot: pg_dump writes an empty table, and says nothing. Once pg_dump has its locks,
// nobody can. So the tables are listed twice, under the snapshot and when pg_dump has its locks, and what differs has been changed.
type attempt struct {
	*Engine
	req      engine.Request
	programs clients.Programs
	path     string
	db       *catalog.Database
	// strict begins anew when a table was changed in between. The last attempts are not: they dump what pg_dump would.
	strict bool

	anchor   *pgx.Conn // holds the snapshot
	tx       pgx.Tx
	snapshot string
	look     *pgx.Conn
	name     string // application_name of pg_dump's sessions

	relations []contents.Relation // under the snapshot
	kept      []contents.KeptTable
	closed    int64 // large objects that the role may not read; then none is dumped
	omitted   []catalog.Omission
	warned    []catalog.Omission // by pg_dump
	lastLook  locks
}

// errChanged: the schema was changed in between, so that this attempt is worth nothing and another may be.
var errChanged = errors.New("the schema was changed while the dump began")

// countPatience bounds waiting for a table that somebody else waits for while pg_dump has it: its rows are counted later.
const countPatience = 100 * time.Millisecond

// run makes the archive and fills in the database's Contents.
func (a *attempt) run(ctx context.Context) error {
	if err := a.begin(ctx); err != nil {
		return withRemedy(err)
	}
	defer a.end(context.WithoutCancel(ctx))
	dumping, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended, dumped := make(chan struct{}), make(chan error, 1)
	go func() {
		err := a.dump(dumping)
		if err != nil {
			cancel(err)
		}
		close(ended)
		dumped <- err
	}()
	countErr := a.witness(dumping, ended)
	ours := countErr != nil && dumping.Err() == nil // and not what pg_dump's end did to us
	if ours {
		cancel(countErr)
	}
	dumpErr := <-dumped
	switch {
	case dumpErr != nil && !ours:
		return a.explain(ctx, dumpErr)
	case countErr != nil:
		return withRemedy(countErr)
	}
	if err := a.tx.Rollback(ctx); err != nil { // the snapshot lived to the end
		return fmt.Errorf("end the snapshot: %w", err)
	}
	a.db.Contents.Exact = true
	a.omitted = append(a.omitted, a.warned...)
	var err error
	if a.db.Bytes, err = sizeOf(a.path); err != nil {
		return fmt.Errorf("measure the archive: %w", err)
	}
	return a.checkTOC(ctx)
}

// begin opens the sessions and the snapshot, and lists the tables under it.
func (a *attempt) begin(ctx context.Context) (err error) {
	a.name = "pg_reliability_backup " + rand.Text()
	defer func() {
		if err != nil {
			a.end(context.WithoutCancel(ctx))
		}
	}()
	var sessions errgroup.Group
	for _, conn := range []**pgx.Conn{&a.anchor, &a.look} {
		sessions.Go(func() (err error) { *conn, err = a.session(ctx); return err })
	}
	if err = sessions.Wait(); err != nil {
		return err
	}
	if a.db.Session, err = a.req.Target.RowSettings(ctx, a.look); err != nil {
		return err
	}
	a.db.SnapshotAt = time.Now().UTC()
	a.tx, err = a.anchor.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return fmt.Errorf("begin the snapshot: %w", err)
	}
	if err = a.tx.QueryRow(ctx, "SELECT pg_catalog.pg_export_snapshot()").Scan(&a.snapshot); err != nil {
		return fmt.Errorf("export the snapshot: %w", err)
	}
	err = a.under(ctx, func(tx pgx.Tx) error {
		if a.relations, err = contents.Relations(ctx, tx); err != nil {
			return err
		}
		a.closed, err = closedLargeObjects(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	for _, r := range a.relations {
		if !r.Readable {
			return failure.New(failure.Permission, "permission denied for table %s.%s", r.Schema, r.Name)
		}
		if r.Filtered {
			return failure.New(failure.Permission, "row-level security of table %s.%s would filter what the role reads", r.Schema, r.Name)
		}
	}
	// Sequences obey no snapshot: read before pg_dump begins, so that it reads the same or a later value.
	if a.db.Contents.Sequences, err = contents.Sequences(ctx, a.look); err != nil {
		return a.changed(ctx, err)
	}
	return nil
}

func (a *attempt) end(ctx context.Context) {
	for _, c := range []*pgx.Conn{a.look, a.anchor} {
		if c != nil {
			_ = c.Close(ctx)
		}
	}
}

// session is one in which counting costs least beside pg_dump, which reads the whole table into the cache anyway: as a
// plain scan, without starting workers, compiling, or walking an index.
func (a *attempt) session(ctx context.Context) (*pgx.Conn, error) {
	conn, err := a.req.Target.Connect(ctx, a.db.Name)
	if err != nil {
		return nil, err
	}
	for _, set := range []string{
		"SET max_parallel_workers_per_gather = 0", "SET enable_indexonlyscan = off", "SET enable_bitmapscan = off",
		fmt.Sprintf("SET lock_timeout = %d", a.req.LockWait.Milliseconds()),
	} {
		if err := sqltext.Exec(ctx, conn, set); err != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
			return nil, fmt.Errorf("%s: %w", set, err)
		}
	}
	return conn, nil
}

// under runs f in a transaction of its own under the dump's snapshot, which ends with f, and its locks with it.
func (a *attempt) under(ctx context.Context, f func(pgx.Tx) error) error {
	tx, err := a.look.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return fmt.Errorf("look at the snapshot: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if err := sqltext.Exec(ctx, tx.Conn(), "SET TRANSACTION SNAPSHOT "+sqltext.Literal(a.snapshot)); err != nil {
		return fmt.Errorf("look at the snapshot: %w", err)
	}
	return f(tx)
}

// changed makes errChanged of an error that says that something vanished.
func (a *attempt) changed(ctx context.Context, err error) error {
	var pg *pgconn.PgError
	if ctx.Err() == nil && errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "3F000") {
		return fmt.Errorf("%w: %w", errChanged, err)
	}
	return err
}

// explain gives pg_dump's failure a reason. Its text is for people, and the server's part of it in the server's
// language: so that who changed the schema is found by comparing, and who held a lock by the last look at the locks.
func (a *attempt) explain(ctx context.Context, err error) error {
	var program *clients.ProgramError
	if !errors.As(err, &program) || ctx.Err() != nil {
		return err
	}
	if w := a.lastLook; w.waiting && w.since > a.req.LockWait-4*lookMost && a.req.LockWait > 0 &&
		strings.Contains(program.Stderr, "LOCK TABLE") {
		return failure.New(failure.LockTimeout, "a table stayed locked for longer than %s: %w", a.req.LockWait, err).
			WithHint("Who holds it is in pg_locks; give the dump a longer --lock-wait-timeout.")
	}
	if a.schemaChanged(ctx) {
		return fmt.Errorf("%w: %w", errChanged, err)
	}
	return explainProgram(ctx, a.req.Target, err)
}

// schemaChanged compares the schema in the snapshot with the one of now. Who waited for pg_dump has just been let go.
func (a *attempt) schemaChanged(ctx context.Context) bool {
	before, err := contents.Digest(ctx, a.tx)
	if err != nil || a.tx.Rollback(ctx) != nil {
		return false
	}
	for range 5 {
		if now, err := contents.Digest(ctx, a.anchor); err != nil || now != before {
			return err == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(countPatience):
		}
	}
	return false
}
