package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// TableOptions of a restore of one table's rows.
type TableOptions struct {
	Backup   catalog.Backup
	Database string
	// Schema and Table name an ordinary table or a partition.
	Schema, Table string
	// As is the new table's name, in the same schema; "" means <table>_restored_<time>.
	As string
	// Into is the database to put it into; "" means Database.
	Into string
}

// RestoreTable brings back one table's rows as a new table beside the live one, which is untouched:
// which rows to take over is for the owner to say, in SQL. The new table has the columns, no
// constraints and no indexes.
//
// The backup's schema goes into a database of its own first, because a table needs its types and
// functions; only the one table's rows are loaded.
func (r *Restorer) RestoreTable(ctx context.Context, o TableOptions) (Report, error) {
	began := r.Now()
	db, ok := o.Backup.Manifest.Database(o.Database)
	if !ok {
		return Report{}, failure.New(failure.Nothing, "backup %s has no database %q", o.Backup.ID, o.Database)
	}
	want, err := findTable(db, o.Schema, o.Table)
	if err != nil {
		return Report{}, err
	}
	if o.Into == "" {
		o.Into = o.Database
	}
	stamp := began.UTC().Format("20060102T150405")
	if o.As == "" {
		o.As = trimName(o.Table, "_restored_"+stamp)
	}
	loader, release, err := r.examine(o.Backup)
	if err != nil {
		return Report{}, err
	}
	defer release()
	s, err := r.open(ctx)
	if err != nil {
		return Report{}, err
	}
	defer s.close()
	s.compareServers(o.Backup)
	src := source{Backup: o.Backup, loader: loader}
	if src.programs, err = loader.Programs(ctx, s.facts.Major()); err != nil {
		return Report{}, err
	}
	work := &place{database: db}
	defer func() { s.dropQuietly(ctx, []*place{work}) }()
	rows, err := s.table(ctx, o, src, work)
	if err == nil && rows != want.Rows {
		err = failure.New(failure.Verify, "the table has %d rows, the manifest says %d", rows, want.Rows)
	}
	if err != nil {
		return Report{}, s.restoreFailure(o.Schema+"."+o.Table, err)
	}
	return Report{
		Backup: o.Backup.ID, Database: o.Into, Table: o.Schema + "." + o.As, Rows: rows, Seconds: r.Now().Sub(began).Seconds(),
		Warnings: s.warnings,
	}, nil
}

func findTable(db catalog.Database, schema, table string) (catalog.Table, error) {
	for _, t := range db.Contents.Tables {
		if t.Schema == schema && t.Name == table {
			return t, nil
		}
	}
	return catalog.Table{}, failure.New(failure.Nothing, "the backup of database %s has no table %s.%s", db.Name, schema, table).
		WithHint("A partitioned table is restored partition by partition; `pg_reliability_backup show` lists the tables.")
}

// table loads the table into the work database and copies it over.
func (s *session) table(ctx context.Context, o TableOptions, src source, work *place) (int64, error) {
	there, err := exists(ctx, s.conn, o.Into)
	if err == nil && !there {
		err = failure.New(failure.Refused, "database %q does not exist on the server", o.Into).
			WithHint("Restore the whole database, or name another one with --as.")
	}
	if err != nil {
		return 0, err
	}
	s.report("load " + o.Schema + "." + o.Table)
	if err := s.create(ctx, work, src.ID); err != nil {
		return 0, err
	}
	load := engine.LoadOptions{Programs: src.programs, NoTablespaces: true, NoOwner: true, Section: "pre-data"}
	if err := src.loader.Load(ctx, src.Backup, work.database, s.loadTarget(), work.beside, load); err != nil {
		return 0, err
	}
	list, err := s.tableList(ctx, o, src, work.database)
	if err != nil {
		return 0, err
	}
	defer os.Remove(list)
	load.Section, load.ListFile = "", list
	if err := src.loader.Load(ctx, src.Backup, work.database, s.loadTarget(), work.beside, load); err != nil {
		return 0, err
	}
	s.report("copy")
	return s.copyTable(ctx, o, work.beside)
}

// tableList writes a table of contents that holds the one table's data.
func (s *session) tableList(ctx context.Context, o TableOptions, src source, db catalog.Database) (string, error) {
	var toc bytes.Buffer
	if err := src.loader.List(ctx, src.Backup, db, src.programs, &toc); err != nil {
		return "", err
	}
	var line string
	for _, l := range strings.Split(toc.String(), "\n") {
		// 4022; 0 16389 TABLE DATA public customer owner: names with blanks are not quoted.
		if _, rest, ok := strings.Cut(l, " TABLE DATA "); ok && strings.HasPrefix(rest, o.Schema+" "+o.Table+" ") {
			line = l
			if len(strings.Fields(rest)) == len(strings.Fields(o.Schema+" "+o.Table))+1 {
				break
			}
		}
	}
	if line == "" {
		return "", failure.New(failure.Nothing, "the archive has no data of table %s.%s", o.Schema, o.Table)
	}
	f, err := os.CreateTemp("", "pg_reliability_toc-")
	if err != nil {
		return "", fmt.Errorf("write a table of contents: %w", err)
	}
	_, err = io.WriteString(f, line+"\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("write a table of contents: %w", err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// copyTable makes the new table and fills it, in one transaction of the live database.
func (s *session) copyTable(ctx context.Context, o TableOptions, work string) (int64, error) {
	src, err := s.Target.Connect(ctx, work)
	if err != nil {
		return 0, err
	}
	defer func() { _ = src.Close(context.WithoutCancel(ctx)) }()
	rows, err := src.Query(ctx, `
		SELECT pg_catalog.quote_ident(a.attname) || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod),
		       CASE WHEN a.attgenerated = '' THEN pg_catalog.quote_ident(a.attname) END
		  FROM pg_catalog.pg_attribute a
		 WHERE a.attrelid = $1::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped
		 ORDER BY a.attnum`, server.Quote(o.Schema, o.Table))
	if err != nil {
		return 0, fmt.Errorf("read the table's columns: %w", err)
	}
	var columns, stored []string
	var definition string
	var name *string
	_, err = pgx.ForEachRow(rows, []any{&definition, &name}, func() error {
		if name != nil { // a generated column comes from the others
			columns, stored = append(columns, definition), append(stored, *name)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read the table's columns: %w", err)
	}
	dst, err := s.Target.Connect(ctx, o.Into)
	if err != nil {
		return 0, err
	}
	defer func() { _ = dst.Close(context.WithoutCancel(ctx)) }()
	tx, err := dst.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	to := server.Quote(o.Schema, o.As)
	if err := sqltext.Exec(ctx, tx.Conn(), "CREATE TABLE "+to+" ("+strings.Join(columns, ", ")+")"); err != nil {
		return 0, fmt.Errorf("make table %s.%s: %w", o.Schema, o.As, err)
	}
	list := " (" + strings.Join(stored, ", ") + ") "
	n, err := pipe(ctx, src, "COPY "+server.Quote(o.Schema, o.Table)+list+"TO STDOUT", dst, "COPY "+to+list+"FROM STDIN")
	if err != nil {
		return 0, fmt.Errorf("copy the rows: %w", err)
	}
	if err := tx.Commit(ctx); err != nil {
		return 0, fmt.Errorf("commit table %s.%s: %w", o.Schema, o.As, err)
	}
	return n, nil
}

// pipe runs a COPY TO into a COPY FROM.
func pipe(ctx context.Context, src *pgx.Conn, from string, dst *pgx.Conn, to string) (int64, error) {
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		_, err := src.PgConn().CopyTo(ctx, w, from)
		_ = w.CloseWithError(err) // nil means the end
		sent <- err
	}()
	tag, err := dst.PgConn().CopyFrom(ctx, r, to)
	_ = r.CloseWithError(io.ErrClosedPipe)
	if sentErr := <-sent; err == nil {
		err = sentErr
	}
	return tag.RowsAffected(), err
}

// sqlState is the server's code for an error, "" when the error is not the server's.
func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}
