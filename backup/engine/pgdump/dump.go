package pgdump

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// snapshotTries is how often the list of tables may be overtaken by a DROP before the lock on them is had.
const snapshotTries = 5

// dump writes one database's archive and fills in its Contents. Where a schema change gets in between, it goes first,
// and the dump begins anew.
func (e *Engine) dump(ctx context.Context, req engine.Request, p clients.Programs, dir string, db *catalog.Database) error {
	path := filepath.Join(dir, filepath.FromSlash(db.Path))
	for try := 1; ; try++ {
		err := e.dumpOnce(ctx, req, p, path, db)
		if !errors.Is(err, errOvertaken) || try == overtakenTries || ctx.Err() != nil {
			return err
		}
		_ = level.Info(req.Log).Log("msg", "a schema change waits for the dump, which lets it go first and begins anew", "database", db.Name, "try", try+1)
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove the unfinished archive: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(overtakenCheck): // let it through
		}
	}
}

// dumpOnce makes the archive and the Contents under one snapshot: pg_dump imports what a session of ours exports, and
// that session counts the rows meanwhile.
func (e *Engine) dumpOnce(ctx context.Context, req engine.Request, p clients.Programs, path string, db *catalog.Database) error {
	conn, err := req.Target.Connect(ctx, db.Name)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	tx, snapshot, err := e.snapshot(ctx, req, conn, db)
	if err != nil {
		return withRemedy(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()

	whole := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	counted := make(chan error, 1)
	go func() {
		err := contents.Count(ctx, tx, db.Contents.Tables)
		if err == nil {
			err = contents.Objects(ctx, tx, &db.Contents)
		}
		if err != nil {
			cancel(err)
		}
		counted <- err
	}()
	go watchOvertaking(ctx, req, db, conn.PgConn().PID(), func() { cancel(errOvertaken) })
	dumpErr := e.runDump(ctx, req, p, path, snapshot, db)
	if dumpErr != nil {
		cancel(dumpErr)
	}
	countErr := <-counted
	if cause := context.Cause(ctx); errors.Is(cause, errOvertaken) {
		return failure.New(failure.LockTimeout, "%w", cause).WithHint("Make backups while the schema is not being changed.")
	}
	if dumpErr != nil || countErr != nil {
		return e.explain(whole, req.Target, dumpErr, countErr)
	}
	if err := tx.Rollback(ctx); err != nil { // the snapshot lived to the end
		return fmt.Errorf("end the snapshot: %w", err)
	}
	db.Contents.Exact = true
	if db.Bytes, err = sizeOf(path); err != nil {
		return fmt.Errorf("measure the archive: %w", err)
	}
	return checkTOC(ctx, p, path, db)
}

// snapshot begins a transaction whose snapshot is exported, with every table locked ACCESS SHARE, so
// that none can vanish between here and pg_dump's own lock.
func (e *Engine) snapshot(ctx context.Context, req engine.Request, conn *pgx.Conn, db *catalog.Database) (pgx.Tx, string, error) {
	for _, set := range []string{
		"SET search_path = pg_catalog", "SET row_security = off", "SET statement_timeout = 0",
		"SET idle_in_transaction_session_timeout = 0",
		// Counting costs least beside pg_dump, which reads the whole table into the cache anyway, as a
		// plain scan: without starting workers, compiling, or walking an index.
		"SET max_parallel_workers_per_gather = 0", "SET jit = off", "SET enable_indexonlyscan = off", "SET enable_bitmapscan = off",
		fmt.Sprintf("SET lock_timeout = %d", req.LockWait.Milliseconds()),
	} {
		if _, err := conn.Exec(ctx, set); err != nil {
			return nil, "", fmt.Errorf("%s: %w", set, err)
		}
	}
	for try := 1; ; try++ {
		tx, id, err := e.trySnapshot(ctx, conn, db)
		var pg *pgconn.PgError
		if err == nil || try == snapshotTries || !errors.As(err, &pg) || pg.Code != "42P01" && pg.Code != "3F000" {
			return tx, id, err
		}
	}
}

func (e *Engine) trySnapshot(ctx context.Context, conn *pgx.Conn, db *catalog.Database) (tx pgx.Tx, id string, err error) {
	db.SnapshotAt = time.Now().UTC()
	tx, err = conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, "", fmt.Errorf("begin the snapshot: %w", err)
	}
	begun := tx
	defer func() {
		if err != nil {
			_ = begun.Rollback(context.WithoutCancel(ctx))
		}
	}()
	if err = tx.QueryRow(ctx, "SELECT pg_catalog.pg_export_snapshot()").Scan(&id); err != nil {
		return nil, "", fmt.Errorf("export the snapshot: %w", err)
	}
	if db.Contents.Tables, err = contents.Tables(ctx, tx); err != nil {
		return nil, "", err
	}
	const batch = 500 // tables a statement
	for rest := db.Contents.Tables; len(rest) > 0; rest = rest[min(batch, len(rest)):] {
		var names []string
		for _, t := range rest[:min(batch, len(rest))] {
			names = append(names, "ONLY "+server.Quote(t.Schema, t.Name))
		}
		if _, err = tx.Exec(ctx, "LOCK TABLE "+strings.Join(names, ", ")+" IN ACCESS SHARE MODE"); err != nil {
			return nil, "", fmt.Errorf("lock the tables for reading: %w", err)
		}
	}
	if db.Contents.Sequences, err = contents.Sequences(ctx, tx); err != nil {
		return nil, "", err
	}
	return tx, id, nil
}

func (e *Engine) runDump(ctx context.Context, req engine.Request, p clients.Programs, path, snapshot string, db *catalog.Database) error {
	args := []string{
		"--format=" + db.Format, "--file=" + path, "--snapshot=" + snapshot, "--no-password",
		"--dbname=" + req.Target.Arg(db.Name),
	}
	if req.LockWait > 0 {
		args = append(args, "--lock-wait-timeout="+strconv.FormatInt(req.LockWait.Milliseconds(), 10))
	}
	if e.Compress != nil {
		args = append(args, "--compress="+strconv.Itoa(*e.Compress))
	}
	if db.Format == "directory" {
		args = append(args, "--jobs="+strconv.Itoa(e.jobs()))
	}
	cmd := exec.Command(p.Path("pg_dump"), args...)
	cmd.Env = req.Target.Environ()
	var expected int64 // what it was last time
	if req.Previous != nil {
		last, _ := req.Previous.Manifest.Database(db.Name)
		expected = last.Bytes
	}
	stop := watch(func() {
		if n, err := sizeOf(path); err == nil {
			req.Report("dump "+db.Name, n, atLeast(n, expected))
		}
	})
	defer stop()
	return clients.Run(ctx, cmd)
}

// explain turns what pg_dump and the counting session said into one error with a reason. The
// session's errors have an SQLSTATE; pg_dump's are text for people.
func (e *Engine) explain(ctx context.Context, t server.Target, dumpErr, countErr error) error {
	if countErr != nil && !errors.Is(countErr, context.Canceled) {
		if failure.Of(countErr) == failure.Permission {
			return withRemedy(countErr)
		}
		if dumpErr == nil || errors.Is(dumpErr, context.Canceled) {
			return countErr
		}
	}
	return explainProgram(ctx, t, dumpErr)
}

// withRemedy says what a role lacks that may not read everything.
func withRemedy(err error) error {
	if failure.Of(err) != failure.Permission {
		return err
	}
	return failure.New(failure.Permission, "%w", err).
		WithHint("The role needs pg_read_all_data, and BYPASSRLS where row-level security applies to it.")
}

// explainProgram gives a client program's failure a reason: by the messages of libpq and of the C
// library, which come in English as we run it, and by asking the server whether it is there.
func explainProgram(ctx context.Context, t server.Target, err error) error {
	var program *clients.ProgramError
	if !errors.As(err, &program) || ctx.Err() != nil {
		return err
	}
	if strings.Contains(program.Stderr, "No space left on device") || strings.Contains(program.Stderr, "Disk quota exceeded") {
		return failure.New(failure.Space, "%w", err).WithHint("Free space or `prune`; the unfinished backup is removed.")
	}
	for _, words := range []string{
		"server closed the connection", "connection to server", "could not receive data from server", "could not send data to server",
		"SSL connection has been closed", "SSL SYSCALL error", "terminating connection",
	} {
		if strings.Contains(program.Stderr, words) {
			return &failure.Error{Reason: failure.Connection, Err: fmt.Errorf("the server cut the connection: %w", err)}
		}
	}
	conn, cerr := t.Connect(ctx, "")
	if cerr != nil {
		return &failure.Error{Reason: failure.Connection, Err: fmt.Errorf("the server is gone: %w", err)}
	}
	_ = conn.Close(ctx)
	return err
}

// checkTOC asks pg_restore for the archive's table of contents: the archive is whole enough to be
// opened, and holds data for each table that was counted.
func checkTOC(ctx context.Context, p clients.Programs, path string, db *catalog.Database) error {
	var out bytes.Buffer
	cmd := exec.Command(p.Path("pg_restore"), "--list", path)
	cmd.Env = server.Target{}.Environ()
	cmd.Stdout = &out
	if err := clients.Run(ctx, cmd); err != nil {
		return fmt.Errorf("read back the archive's table of contents: %w", err)
	}
	n := 0
	for s := bufio.NewScanner(&out); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) > 5 && f[3] == "TABLE" && f[4] == "DATA" {
			n++
		}
	}
	if n < len(db.Contents.Tables) {
		return failure.New(failure.Dump, "the archive has the data of %d tables, the database has %d", n, len(db.Contents.Tables))
	}
	return nil
}

// atLeast is an estimate that was not exceeded; 0 when there is none, or it was.
func atLeast(done, expected int64) int64 {
	if done > expected {
		return 0
	}
	return expected
}

// sizeOf is the size of a file, or of all files in a directory.
func sizeOf(path string) (int64, error) {
	var n int64
	err := filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			n += fi.Size()
		}
		return err
	})
	if os.IsNotExist(err) {
		return 0, nil
	}
	return n, err
}

// watch calls f twice a second until stop is called.
func watch(f func()) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				f()
			}
		}
	}()
	return func() { close(done); <-ended }
}
