package restore_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgdump"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// unlucky is an engine whose workers meet in an order that fails, after they have loaded something, as those of pg_restore do
// with a privilege on a table whose schema has none yet.
type unlucky struct {
	*pgdump.Engine
	jobs *[]int
	why  string
}

func (u unlucky) Restoring() engine.Restoring { return engine.Restoring{Databases: u} }

func (u unlucky) Load(ctx context.Context, b catalog.Backup, db catalog.Database, t server.Target, into string,
	o engine.LoadOptions) error {
	if !o.GoOn { // what fills materialized views
		*u.jobs = append(*u.jobs, o.Jobs)
	}
	if err := u.Engine.Load(ctx, b, db, t, into, o); err != nil {
		return err
	}
	if o.Jobs > 1 {
		return fmt.Errorf("load database %s: pg_restore: error: %s", db.Name, u.why)
	}
	return nil
}

func TestWhatSeveralWorkersCannotLoadIsLoadedByOne(t *testing.T) {
	b := newBench(t)
	backup := b.run(t)
	r := b.restorer(t, b.pg)
	var jobs []int
	r.Engines = []engine.Engine{unlucky{&pgdump.Engine{}, &jobs, "permission denied for schema s"}}
	rep, err := r.Restore(t.Context(), restore.Options{Backup: backup, Database: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if len(jobs) != 2 || jobs[0] < 2 || jobs[1] != 1 || rep.Rows == 0 {
		t.Errorf("loaded with %v workers, %d rows", jobs, rep.Rows)
	}
	if left := query(t, b.pg, "postgres",
		`SELECT string_agg(datname, ',') FROM pg_database WHERE datname ~ '^pg_reliability_restore'`); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// A full disk is filled once: the server is somebody's, and may end when it has no room for its WAL.
func TestAFullDiskIsNotFilledAgain(t *testing.T) {
	b := newBench(t)
	backup := b.run(t)
	r := b.restorer(t, b.pg)
	var jobs []int
	r.Engines = []engine.Engine{unlucky{&pgdump.Engine{}, &jobs,
		`COPY failed for table "t": ERROR:  could not extend file "base/1/2": No space left on device`}}
	_, err := r.Restore(t.Context(), restore.Options{Backup: backup, Database: "shop"})
	if failure.Of(err) != failure.Space || len(jobs) != 1 {
		t.Errorf("%v, loaded with %v workers, want the reason %s after one try", err, jobs, failure.Space)
	}
}
