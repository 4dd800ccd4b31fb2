package pgdump

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/backup/cage"
	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// Programs implements engine.Loader: the programs are the server's own, which read archives of older ones too.
func (e *Engine) Programs(ctx context.Context, major int, more ...string) (clients.Programs, error) {
	return e.Finder.Find(ctx, major, append([]string{"pg_restore", "psql"}, more...)...)
}

// Load implements engine.Loader.
func (e *Engine) Load(ctx context.Context, b catalog.Backup, db catalog.Database, t server.Target, into string,
	o engine.LoadOptions) error {
	var args []string
	if !o.GoOn {
		args = append(args, "--exit-on-error")
	}
	if o.Jobs > 1 {
		args = append(args, "--jobs="+strconv.Itoa(o.Jobs))
	}
	if o.NoTablespaces {
		args = append(args, "--no-tablespaces")
	}
	if o.NoOwner {
		args = append(args, "--no-owner", "--no-privileges")
	}
	if o.Section != "" {
		args = append(args, "--section="+o.Section)
	}
	if o.Table != "" { // names, not patterns
		args = append(args, "--data-only", "--schema="+server.Bytes(o.Schema), "--table="+server.Bytes(o.Table))
	}
	child := server.Child{
		Programs: o.Programs, Name: "pg_restore", Database: into, Reads: []string{archive(b, db)}, Loads: true, Settings: db.Session,
	}
	if len(o.Entries) > 0 { // no file of it is left behind, whatever ends us
		child.Stdin = strings.NewReader(strings.Join(o.Entries, ""))
		args = append(args, "--use-list=/dev/stdin")
	}
	child.Args = append(args, archive(b, db))
	if err := t.Run(ctx, child); err != nil {
		return fmt.Errorf("load database %s: %w", db.Name, err)
	}
	return nil
}

// List implements engine.Loader: an archive's table of contents.
func (e *Engine) List(ctx context.Context, b catalog.Backup, db catalog.Database, p clients.Programs, w io.Writer) error {
	if err := readArchive(ctx, p, archive(b, db), "--list", w); err != nil {
		return fmt.Errorf("list the contents of database %s: %w", db.Name, err)
	}
	return nil
}

// Check implements engine.Engine: pg_restore reads and decompresses every byte, to nowhere.
func (e *Engine) Check(ctx context.Context, b catalog.Backup, progress func(done, total int64)) error {
	p, err := e.Finder.Find(ctx, b.Manifest.Server.Major(), "pg_restore")
	if err != nil {
		return err
	}
	var done int64
	for _, db := range b.Manifest.Databases {
		if err := readArchive(ctx, p, archive(b, db), "--file=/dev/null", nil); err != nil {
			if ctx.Err() != nil {
				return err
			}
			return failure.New(failure.Verify, "read database %s: %w", db.Name, err)
		}
		if done += db.Bytes; progress != nil {
			progress(done, b.Manifest.Bytes)
		}
	}
	return nil
}

// readArchive runs pg_restore on an archive without a server. A program that reads what a stranger may have written reads that and
// nothing else.
func readArchive(ctx context.Context, p clients.Programs, path, option string, w io.Writer) error {
	cmd := exec.Command(p.Path("pg_restore"), option, path)
	cmd.Env, cmd.Stdout = clients.Environ(), w
	c := cage.Cage{Programs: p.Dir, Read: []string{path}}
	return clients.RunBy(ctx, cmd, c.Start)
}

func archive(b catalog.Backup, db catalog.Database) string {
	return filepath.Join(b.Dir, filepath.FromSlash(db.Path))
}
