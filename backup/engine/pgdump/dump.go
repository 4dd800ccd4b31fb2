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

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

const (
	// tries is how often a database's dump may begin anew because the schema was changed meanwhile; the first strictTries of
	// them begin anew, too, where a dump would succeed and might lack rows.
	tries, strictTries = 8, 3
	// tryAgainWithin is how long a dump may have lasted to be begun anew: what fails after hours costs hours again.
	tryAgainWithin = 10 * time.Minute
	// tryAgainAfter lets a schema change through that waited for the dump.
	tryAgainAfter = 200 * time.Millisecond
)

// dump writes one database's archive and fills in its Contents. It returns what the archive lacks.
func (e *Engine) dump(ctx context.Context, req engine.Request, p clients.Programs, dir string, db *catalog.Database) ([]catalog.Omission,
	error) {
	path := filepath.Join(dir, filepath.FromSlash(db.Path))
	before := *db
	for try := 1; ; try++ {
		*db = before
		began := time.Now()
		a := &attempt{Engine: e, req: req, programs: p, path: path, db: db, strict: try <= strictTries}
		err := a.run(ctx)
		if err == nil {
			return a.omitted, nil
		}
		if rerr := os.RemoveAll(path); rerr != nil {
			return nil, errors.Join(err, fmt.Errorf("remove the unfinished archive: %w", rerr))
		}
		most, hint := tries, "Make backups while the schema is not being changed."
		switch {
		case ctx.Err() != nil:
			return nil, err
		case errors.Is(err, errChanged):
		case conflicted(ctx, req.Target, err):
			most, hint = strictTries, "On the standby raise max_standby_streaming_delay and max_standby_archive_delay beyond the time of a dump, "+
				"or set hot_standby_feedback = on."
		default:
			return nil, err
		}
		if try == most || time.Since(began) > tryAgainWithin {
			return nil, failure.New(failure.Dump, "%w", err).WithHint("%s", hint)
		}
		_ = level.Info(req.Log).Log("msg", "the dump begins anew: its schema was changed, or a standby's replay ended it", "database", db.Name,
			"try", try+1, "why", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(tryAgainAfter):
		}
	}
}

// conflicted says that the server is a standby, and replayed what a session still needed: a row that was vacuumed away, a table's lock. A
// client program whose session was ended for that may know only that it was cut.
func conflicted(ctx context.Context, t server.Target, err error) bool {
	if strings.Contains(err.Error(), "due to conflict with recovery") {
		return true
	}
	if failure.Of(err) != failure.Connection {
		return false
	}
	conn, err := t.Connect(ctx, "")
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var standby bool
	return conn.QueryRow(ctx, "SELECT pg_catalog.pg_is_in_recovery()").Scan(&standby) == nil && standby
}

// dump runs pg_dump under the snapshot, and keeps its warnings.
func (a *attempt) dump(ctx context.Context) error {
	target := a.req.Target.With("application_name", a.name)
	args := []string{
		"--format=" + a.db.Format, "--file=" + a.path, "--snapshot=" + a.snapshot,
	}
	if a.closed > 0 {
		args = append(args, "--no-blobs") // the name that every version knows
	}
	if a.req.LockWait > 0 {
		args = append(args, "--lock-wait-timeout="+strconv.FormatInt(a.req.LockWait.Milliseconds(), 10))
	}
	if a.Compress != nil {
		args = append(args, "--compress="+strconv.Itoa(*a.Compress))
	}
	if a.db.Format == "directory" {
		args = append(args, "--jobs="+strconv.Itoa(a.jobs()))
	}
	words := &said{}
	var expected int64 // what it was last time
	if a.req.Previous != nil {
		last, _ := a.req.Previous.Manifest.Database(a.db.Name)
		expected = last.Bytes
	}
	stop := watch(func() {
		if n, err := sizeOf(a.path); err == nil {
			a.req.Report("dump "+a.db.Name, n, atLeast(n, expected))
		}
	})
	defer stop()
	// The database's own encoding, whatever is set for the role: nothing is converted, nothing can be refused.
	err := target.Run(ctx, server.Child{
		Programs: a.programs, Name: "pg_dump", Database: a.db.Name, Encoding: a.db.Properties.Encoding, Args: args, Stderr: words,
	})
	var program *clients.ProgramError
	if errors.As(err, &program) && program.Stderr == "" {
		program.Stderr = words.gist()
	}
	a.warned = warnings(a.db.Name, string(words.beginning)+string(words.end))
	return err
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
		return failure.New(failure.Space, "%w", err)
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
// opened, and holds data for each table of the snapshot.
func (a *attempt) checkTOC(ctx context.Context) error {
	var out bytes.Buffer
	cmd := exec.Command(a.programs.Path("pg_restore"), "--list", a.path)
	cmd.Env = clients.Environ()
	cmd.Stdout = &out
	if err := clients.Run(ctx, cmd); err != nil {
		return fmt.Errorf("read back the archive's table of contents: %w", err)
	}
	n, want := 0, 0
	for s := bufio.NewScanner(&out); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) > 5 && f[3] == "TABLE" && f[4] == "DATA" {
			n++
		}
	}
	for _, r := range a.relations {
		if !r.Hidden {
			want++
		}
	}
	if n < want {
		return failure.New(failure.Dump, "the archive has the data of %d tables, the database has %d", n, want)
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
