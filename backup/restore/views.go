package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// refreshEntry is a line of an archive's list that fills a materialized view: pg_dump puts them last, and nothing depends on them.
var refreshEntry = regexp.MustCompile(`^\d+; \d+ \d+ MATERIALIZED VIEW DATA `)

// eventEntry is a line that makes an event trigger, or says something of one. They come behind what fills the views, which would call them.
var eventEntry = regexp.MustCompile(`^\d+; \d+ \d+ (COMMENT - )?EVENT TRIGGER `)

// labelEntry is a line that sets a security label. They come last of all: a server takes one from a provider that is loaded there, and no
// other.
var labelEntry = regexp.MustCompile(`^\d+; \d+ \d+ SECURITY LABEL `)

// lateEntries are the lines of an archive's list by when they are loaded, where it fills materialized views or has labels; without any
// all are empty.
type lateEntries struct{ rest, views, triggers, labels []string }

// late reads an archive's list.
func (s *session) late(ctx context.Context, src source, db catalog.Database) (l lateEntries, err error) {
	var toc bytes.Buffer
	if err := src.loader.List(ctx, src.Backup, db, src.programs, &toc); err != nil {
		return l, err
	}
	for line := range strings.Lines(toc.String()) {
		switch {
		case refreshEntry.MatchString(line):
			l.views = append(l.views, line)
		case labelEntry.MatchString(line):
			l.labels = append(l.labels, line)
		case eventEntry.MatchString(line):
			l.triggers = append(l.triggers, line)
		default:
			l.rest = append(l.rest, line)
		}
	}
	if len(l.views) == 0 { // nothing calls them
		l.rest, l.triggers = append(l.rest, l.triggers...), nil
	}
	if len(l.views)+len(l.labels) == 0 {
		return lateEntries{}, nil
	}
	return l, nil
}

// loadLate loads what comes behind the rest.
func (s *session) loadLate(ctx context.Context, src source, p *place, db catalog.Database, o engine.LoadOptions, late lateEntries) error {
	if len(late.views) > 0 {
		if err := s.fillViews(ctx, src, p, db, o, late.views); err != nil {
			return err
		}
	}
	if len(late.triggers) > 0 {
		o.Entries, o.Jobs = late.triggers, 1
		if err := src.loader.Load(ctx, src.Backup, db, s.loadTarget(), p.beside, o); err != nil {
			return err
		}
	}
	if len(late.labels) > 0 {
		return s.label(ctx, src, p, db, o, late.labels)
	}
	return nil
}

// label sets security labels. No row depends on one: where the provider is not loaded, as on a rehearsal's server, that is a warning.
func (s *session) label(ctx context.Context, src source, p *place, db catalog.Database, o engine.LoadOptions, entries []string) error {
	o.Entries, o.Jobs, o.GoOn = entries, 1, true
	failed := src.loader.Load(ctx, src.Backup, db, s.loadTarget(), p.beside, o)
	if failed == nil || ctx.Err() != nil || failure.Of(failed) == failure.Connection || fullDisk(failed) {
		return failed
	}
	conn, err := s.Target.Connect(ctx, p.beside) // it is not the server that is gone
	if err != nil {
		return errors.Join(failed, err)
	}
	_ = conn.Close(context.WithoutCancel(ctx))
	s.warn("database %s: not all of its %d security labels could be set, because their provider is not loaded, or says no "+
		"(shared_preload_libraries; for a rehearsal --scratch-setting): %v", p.as, len(entries), failed)
	return nil
}

// fillViews is the second half of a load, after all but event triggers: a materialized view holds no data of its own, and what it reads
// may be out of reach, as a foreign server is from a rehearsal, and from a restore whose network is another. That must
// not keep the data from coming back: the view stays empty, with a warning that names it.
func (s *session) fillViews(ctx context.Context, src source, p *place, db catalog.Database, o engine.LoadOptions, entries []string) error {
	o.Entries, o.Jobs, o.GoOn = entries, 1, true // one reads another
	failed := src.loader.Load(ctx, src.Backup, db, s.loadTarget(), p.beside, o)
	if failed == nil || ctx.Err() != nil || failure.Of(failed) == failure.Connection || fullDisk(failed) {
		return failed
	}
	conn, err := s.Target.Connect(ctx, p.beside)
	if err != nil {
		return errors.Join(failed, err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var empty []string
	var schema, name, quoted string
	rows, err := conn.Query(ctx, `
		SELECT n.nspname, c.relname, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)
		  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		 WHERE c.relkind = 'm' AND NOT c.relispopulated
		 ORDER BY 1, 2`)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&schema, &name, &quoted}, func() error {
			line := strings.NewReplacer("\n", " ", "\r", " ").Replace(" MATERIALIZED VIEW DATA " + schema + " " + name + " ") // as pg_restore writes it
			if slices.ContainsFunc(entries, func(e string) bool { return strings.Contains(e, line) }) {                       // else it had no data
				empty = append(empty, quoted)
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("look for materialized views that are empty: %w", errors.Join(failed, err))
	}
	if len(empty) == 0 {
		return failed
	}
	s.warn("database %s: materialized views could not be filled, and are empty until REFRESH MATERIALIZED VIEW, when what stands in the way is "+
		"gone: %s (%v)", p.as, strings.Join(empty, ", "), failed)
	return nil
}
