package pgdump

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

const (
	// lookLeast and lookMost are the pauses between two looks at pg_dump's locks.
	lookLeast, lookMost = 5 * time.Millisecond, 200 * time.Millisecond
	// batchLocks and batchBytes bound what one transaction counts: the locks on tables and indexes that we add to pg_dump's,
	// and for how long.
	batchLocks, batchBytes = 64, 64 << 20
)

// witness says what pg_dump reads. Where the server's table of locks has room for pg_dump's and not for the few more that this takes, it
// begins anew after pg_dump's end: then the dump is what it would have been alone, and tables that were changed since are not counted.
func (a *attempt) witness(ctx context.Context, ended <-chan struct{}) error {
	omitted, had := slices.Clone(a.omitted), a.db.Contents
	err := a.observe(ctx, ended)
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != outOfLocks || !running(ended) {
		return err
	}
	select {
	case <-ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	a.omitted, a.db.Contents, a.kept = omitted, had, nil
	return a.observe(ctx, ended)
}

// outOfLocks is the code out_of_memory, with which a server says that its table of locks is full.
const outOfLocks = "53200"

// observe looks, while pg_dump runs, which tables it has and how many rows are in each; after its end, at what could not be counted before.
func (a *attempt) observe(ctx context.Context, ended <-chan struct{}) error {
	// First, while pg_dump has few locks: this takes some on the catalogues.
	if err := a.under(ctx, func(tx pgx.Tx) error { return a.objects(ctx, tx) }); err != nil {
		return a.changed(ctx, err)
	}
	if err := a.extensionData(ctx); err != nil {
		return a.changed(ctx, err)
	}
	keptFiles, err := a.countKept(ctx)
	if err != nil {
		return a.changed(ctx, err)
	}
	if err := a.awaitLocks(ctx, ended); err != nil {
		return err
	}
	now, err := contents.Relations(ctx, a.look)
	if err != nil {
		return err
	}
	if err := a.moved(ctx); err != nil {
		return err
	}
	held := running(ended) // pg_dump had them when the list was made, and has them still
	tables, changed := a.compare(now)
	if len(changed) > 0 && a.strict {
		return fmt.Errorf("%w: table %s", errChanged, changed[0].Name)
	}
	a.omitted = append(a.omitted, changed...)
	a.db.Contents.SchemaChanged = len(changed) > 0
	// A changed table's file is known to be the one that pg_dump reads only if pg_dump had its lock when we looked.
	var todo []int
	for i, r := range tables {
		t := a.relations[i].Table()
		a.db.Contents.Tables = append(a.db.Contents.Tables, t)
		if t.Uncounted && (held || a.relations[i].Same(r)) && r.OID != 0 {
			todo = append(todo, i)
		}
	}
	left, err := a.count(ctx, tables, todo, countPatience)
	if err != nil {
		return err
	}
	select {
	case <-ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if _, err := a.count(ctx, tables, left, a.patience()); err != nil {
		return err
	}
	a.uncounted()
	if err := a.sameFiles(ctx, keptFiles); err != nil {
		return err
	}
	return a.moved(ctx)
}

// moved marks the sequences that stand elsewhere than when they were read first. What pg_dump read of one that somebody sets back
// (setval) is not known then, and a number that may be wrong condemns no backup.
func (a *attempt) moved(ctx context.Context) error {
	all := a.db.Contents.Sequences
	if len(all) == 0 {
		return nil
	}
	now, err := contents.Sequences(ctx, a.look)
	if err != nil && !notNow(err) {
		return err
	}
	stands := make(map[[2]string]catalog.Sequence, len(now))
	for _, s := range now {
		stands[[2]string{s.Schema, s.Name}] = s
	}
	for i, s := range all {
		n := stands[[2]string{s.Schema, s.Name}]
		all[i].Moved = s.Moved || n.Last != s.Last || n.Called != s.Called || n.Increment != s.Increment
	}
	return nil
}

// awaitLocks waits until pg_dump has locked all tables, has begun to write, or has ended. Counting before that would put us
// into the queue in front of pg_dump, with who changes a table between the two.
func (a *attempt) awaitLocks(ctx context.Context, ended <-chan struct{}) error {
	if len(a.relations) == 0 {
		return nil
	}
	oids := make([]uint32, 0, len(a.relations))
	for _, r := range a.relations {
		oids = append(oids, r.OID)
	}
	var waitingSince time.Time
	for pause := lookLeast; ; pause = min(2*pause, lookMost) {
		if n, err := sizeOf(a.path); err == nil && n > 0 {
			a.lastLook = locks{}
			return nil
		}
		var have int
		var waiting bool
		err := a.look.QueryRow(ctx, `
			SELECT count(DISTINCT l.relation) FILTER (WHERE l.granted)::int, coalesce(bool_or(NOT l.granted), false)
			  FROM pg_locks l
			 WHERE l.locktype = 'relation' AND l.mode = 'AccessShareLock' AND l.relation IN (SELECT unnest($2::oid[]))
			   AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
			   AND l.pid IN (SELECT s.pid FROM pg_stat_activity s WHERE s.application_name = $1)`, a.name, oids).Scan(&have, &waiting)
		if err != nil {
			return fmt.Errorf("look at the locks of pg_dump: %w", err)
		}
		switch {
		case !waiting:
			waitingSince, a.lastLook = time.Time{}, locks{}
		case waitingSince.IsZero():
			waitingSince = time.Now()
			fallthrough
		default:
			a.lastLook = locks{waiting: true, since: time.Since(waitingSince)}
		}
		if have == len(oids) {
			return nil
		}
		select {
		case <-ended:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// patience bounds waiting for a table after pg_dump's end.
func (a *attempt) patience() time.Duration {
	const most = 10 * time.Second
	if a.req.LockWait > 0 {
		return min(a.req.LockWait, most)
	}
	return most
}

// locks is what the last look at pg_dump's locks saw: that it waited for one, and for how long at least.
type locks struct {
	waiting bool
	since   time.Duration
}

func running(ended <-chan struct{}) bool {
	select {
	case <-ended:
		return false
	default:
		return true
	}
}

// compare finds each table of the snapshot in the list of now; one that is gone has OID 0. It returns which were changed.
func (a *attempt) compare(now []contents.Relation) (tables []contents.Relation, changed []catalog.Omission) {
	byOID := make(map[uint32]contents.Relation, len(now))
	for _, r := range now {
		byOID[r.OID] = r
	}
	tables = make([]contents.Relation, len(a.relations))
	for i, r := range a.relations {
		tables[i] = byOID[r.OID]
		if r.Same(tables[i]) {
			continue
		}
		changed = append(changed, catalog.Omission{
			Kind: catalog.ChangedTable, Database: a.db.Name, Name: r.Schema + "." + r.Name,
			Why:    "it was changed between the snapshot and pg_dump's lock: rows that were in it may be missing from the archive",
			Remedy: "Make backups while the schema is not being changed.",
		})
	}
	return tables, changed
}

// count counts tables, given by their place in the list, a few a transaction. It returns those that it could not.
func (a *attempt) count(ctx context.Context, tables []contents.Relation, todo []int, patience time.Duration) (left []int, err error) {
	if len(todo) == 0 {
		return nil, nil
	}
	if err := sqltext.Exec(ctx, a.look, fmt.Sprintf("SET lock_timeout = %d", max(1, patience.Milliseconds()))); err != nil {
		return nil, fmt.Errorf("set the lock timeout: %w", err)
	}
	todo, err = a.passEmpty(ctx, tables, todo)
	if err != nil {
		return nil, err
	}
	for rest := todo; len(rest) > 0; {
		n, locks, bytes := 0, 0, int64(0)
		for ; n < len(rest); n++ {
			t := tables[rest[n]]
			if locks, bytes = locks+1+t.Indexes, bytes+t.Bytes; n > 0 && (locks > batchLocks || bytes > batchBytes) {
				break
			}
		}
		failed, err := a.countBatch(ctx, tables, rest[:n])
		if err != nil && n > 1 { // which of them is it?
			failed = nil
			for i := range n {
				one, oneErr := a.countBatch(ctx, tables, rest[i:i+1])
				if err = oneErr; err != nil {
					break
				}
				failed = append(failed, one...)
			}
		}
		if err != nil {
			return nil, err
		}
		left, rest = append(left, failed...), rest[n:]
	}
	return left, nil
}

// passEmpty counts the tables that have an empty file, and returns the others.
func (a *attempt) passEmpty(ctx context.Context, tables []contents.Relation, todo []int) (rest []int, err error) {
	const batch = 500
	for len(todo) > 0 {
		part := todo[:min(batch, len(todo))]
		todo = todo[len(part):]
		var some []contents.Relation
		for _, i := range part {
			some = append(some, tables[i])
		}
		empty, err := contents.EmptyFiles(ctx, a.look, some)
		if err != nil && !notNow(err) {
			return nil, err
		}
		for _, i := range part {
			if empty[tables[i].OID] {
				a.db.Contents.Tables[i].Uncounted = false
			} else {
				rest = append(rest, i)
			}
		}
	}
	return rest, nil
}

// countBatch counts tables in one transaction. Those that can't be had now are returned, alone; several are an error then.
func (a *attempt) countBatch(ctx context.Context, tables []contents.Relation, which []int) (left []int, err error) {
	var batch []contents.Relation
	for _, i := range which {
		batch = append(batch, tables[i])
	}
	rows, files, err := contents.CountUnder(ctx, a.look, a.snapshot, batch)
	if err != nil {
		if notNow(err) && len(which) == 1 {
			return which, nil
		}
		return nil, err
	}
	for at, i := range which {
		if files[at] == tables[i].File { // else it is not the file that pg_dump read
			a.db.Contents.Tables[i].Rows, a.db.Contents.Tables[i].Uncounted = rows[at], false
		}
	}
	return nil, nil
}

// notNow says whether a table can't be counted for the moment: somebody waits for it, it is gone, or the lock table is full.
func notNow(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code {
	case "55P03", "40P01", outOfLocks, "42P01", "3F000":
		return true
	}
	return false
}

// uncounted enters the tables that were not counted after all.
func (a *attempt) uncounted() {
	for _, t := range a.db.Contents.Tables {
		if t.Uncounted {
			a.omitted = append(a.omitted, catalog.Omission{
				Kind: catalog.OmittedCount, Database: a.db.Name, Name: t.Schema + "." + t.Name,
				Why:    "its rows could not be counted as pg_dump saw them, because somebody was changing it: a restore is not compared with a number",
				Remedy: "Make backups while the schema is not being changed.",
			})
		}
	}
}
