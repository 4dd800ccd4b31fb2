package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
)

// agreed makes sure that a person means it when a restore would replace a database that nobody named, or another than the one that was
// backed up: on a terminal it says what will be replaced and asks, elsewhere it needs --yes.
func (p *program) agreed(ctx context.Context, r *restore.Restorer, b catalog.Backup, database string) error {
	f := p.flags.restore
	other := f.as != "" && f.as != database
	if f.yes || f.table != "" || f.database != "" && !other {
		return nil
	}
	plan, err := r.Plan(ctx, restore.Options{Backup: b, Database: database, As: f.as, KeepAs: f.keepAs, DropOld: f.dropOld})
	if err != nil || plan.Standing == nil {
		return err
	}
	what := p.replaces(*plan.Standing, r, b)
	if term.IsTerminal(int(os.Stdin.Fd())) {
		return ask(os.Stdin, p.err, what)
	}
	if other {
		return failure.New(failure.Refused, "%s", what).WithHint("Choose another name with --as, drop or rename that database, or say --yes.")
	}
	return failure.New(failure.Config, "%s, and nobody named it", what).
		WithHint("Add --database=%s, or --yes where no person can be asked.", database)
}

// replaces says what a restore does to the database that stands in its place.
func (p *program) replaces(old restore.Standing, r *restore.Restorer, b catalog.Backup) string {
	fate := "the old database is kept as " + old.Database + "_before_TIME"
	switch f := p.flags.restore; {
	case f.dropOld:
		fate = "the old database is dropped"
	case f.keepAs != "":
		fate = "the old database is kept as " + f.keepAs
	}
	return fmt.Sprintf("database %s (%s, %s) on %s would be replaced by its state of %s from backup %s; %s", old.Database,
		bytesText(old.Bytes), counted(old.Sessions, "session"), r.Target, b.Manifest.RecoveryPoint.Format("2006-01-02 15:04:05 MST"), b.ID, fate)
}

// ask takes "yes" alone for a yes.
func ask(in io.Reader, out io.Writer, what string) error {
	say(out, "%s.\nGo on? Type yes: ", strings.ToUpper(what[:1])+what[1:])
	answer, err := bufio.NewReader(io.LimitReader(in, 80)).ReadString('\n')
	if strings.EqualFold(strings.TrimSpace(answer), "yes") {
		return nil
	}
	if err != nil {
		fmt.Fprintln(out)
	}
	return failure.New(failure.Interrupted, "nothing was changed: the answer was not yes")
}
