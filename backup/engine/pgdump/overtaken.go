package pgdump

import (
	"context"
	"errors"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
)

const (
	// overtakenTries is how often a database's dump begins anew because a schema change got in between.
	overtakenTries = 8
	// overtakenCheck is how soon that is seen: as long as everybody who wants such a table waits.
	overtakenCheck = 200 * time.Millisecond
)

// errOvertaken: a schema change asked for a table after our session had locked it and before pg_dump had. It waits for
// us, pg_dump waits behind it, and we wait for pg_dump. The server sees no deadlock in that, and it would
// last until pg_dump's lock timeout, with all the table's users in the queue.
var errOvertaken = errors.New("a schema change stands between the dump and its snapshot")

// watchOvertaking calls give when that has happened to the session with this process id. It ends with ctx, or
// when it can't look any more; then pg_dump's lock timeout is what remains.
func watchOvertaking(ctx context.Context, req engine.Request, db *catalog.Database, pid uint32, give func()) {
	conn, err := req.Target.Connect(ctx, db.Name)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	tick := time.NewTicker(overtakenCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var overtaken bool
		// Sessions of our role that wait for somebody who waits for us; without such waiters it looks at no lock.
		err := conn.QueryRow(ctx, `
			SELECT EXISTS (
			         SELECT FROM pg_catalog.pg_stat_activity AS dump
			          CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(dump.pid)) AS ahead (pid)
			          WHERE dump.datname = pg_catalog.current_database()
			            AND dump.usename = CURRENT_USER
			            AND dump.wait_event_type = 'Lock'
			            AND dump.pid <> $1
			            AND $1 = ANY (pg_catalog.pg_blocking_pids(ahead.pid)))`, int32(pid)).Scan(&overtaken) //nolint:gosec // a process id
		if err != nil {
			return
		}
		if overtaken {
			give()
			return
		}
	}
}
