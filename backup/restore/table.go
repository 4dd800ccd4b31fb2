package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
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
	want, err := o.table()
	if err != nil {
		return Report{}, err
	}
	db, _ := o.Backup.Manifest.Database(o.Database)
	o.Into = o.into()
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
	if err := s.notOlder(o.Backup); err != nil {
		return Report{}, s.restoreFailure(o.Schema+"."+o.Table, err)
	}
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
		Backup: o.Backup.ID, Database: o.Into, Table: sqltext.Shown(o.Schema, o.As), Rows: rows, Seconds: r.Now().Sub(began).Seconds(),
		Warnings: s.warnings,
	}, nil
}

// into is the name of the database that gets the table.
func (o TableOptions) into() string { return cmp.Or(o.Into, o.Database) }

// table finds the table in the backup.
func (o TableOptions) table() (catalog.Table, error) {
	db, ok := o.Backup.Manifest.Database(o.Database)
	if !ok {
		return catalog.Table{}, failure.New(failure.Nothing, "backup %s has no database %q", o.Backup.ID, o.Database)
	}
	var elsewhere []string
	for _, t := range db.Contents.Tables {
		switch {
		case t.Name != o.Table:
		case t.Schema == o.Schema:
			return t, nil
		default:
			elsewhere = append(elsewhere, sqltext.Shown(t.Schema, t.Name))
		}
	}
	if len(elsewhere) > 0 {
		return catalog.Table{}, failure.New(failure.Nothing, "the backup of database %s has no table %s.%s", db.Name, o.Schema, o.Table).
			WithHint("It has %s: write the schema, too.", strings.Join(elsewhere[:min(len(elsewhere), 5)], ", "))
	}
	return catalog.Table{}, failure.New(failure.Nothing, "the backup of database %s has no table %s.%s", db.Name, o.Schema, o.Table).
		WithHint("A partitioned table is restored partition by partition; `pg_reliability_backup show` lists the tables.")
}

// mayRestoreTable says what a table's restore into a database would be refused for.
func (s *session) mayRestoreTable(ctx context.Context, into string) error {
	there, err := exists(ctx, s.conn, into)
	if err == nil && !there {
		err = failure.New(failure.Refused, "database %q does not exist on the server", into).
			WithHint("Restore the whole database, or name another one with --as.")
	}
	if err != nil {
		return err
	}
	return s.mayRestore(ctx)
}

// table loads the table into the work database and copies it over.
func (s *session) table(ctx context.Context, o TableOptions, src source, work *place) (int64, error) {
	if err := s.mayRestoreTable(ctx, o.Into); err != nil {
		return 0, err
	}
	s.report("load " + o.Schema + "." + o.Table)
	if err := s.create(ctx, work, src.ID); err != nil {
		return 0, err
	}
	if err := s.settle(ctx, work, src.ID); err != nil {
		return 0, err
	}
	db, err := s.understood(ctx, work.database)
	if err != nil {
		return 0, err
	}
	load := engine.LoadOptions{Programs: src.programs, NoTablespaces: true, NoOwner: true, Section: "pre-data"}
	if err := src.loader.Load(ctx, src.Backup, db, s.loadTarget(), work.beside, load); err != nil {
		return 0, err
	}
	load.Section, load.Schema, load.Table = "", o.Schema, o.Table
	if err := src.loader.Load(ctx, src.Backup, db, s.loadTarget(), work.beside, load); err != nil {
		return 0, err
	}
	s.report("copy")
	return s.copyTable(ctx, o, work.beside)
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
	list := " "
	if len(stored) > 0 { // a table may have no columns, and rows all the same
		list = " (" + strings.Join(stored, ", ") + ") "
	}
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
