package pgbackrest_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgbackrest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestBackupsOfABusyServerAreVerified: rows, tables and indexes that come and go during a backup must
// neither break its verification nor condemn it. PG_RELIABILITY_LONG=1 does it with half a gigabyte.
func TestBackupsOfABusyServerAreVerified(t *testing.T) {
	t.Parallel()
	rounds, rows := 2, 50_000
	if os.Getenv("PG_RELIABILITY_LONG") == "1" {
		rounds, rows = 6, 4_000_000
	}
	b := newBench(t, pgtest.Options{InitArgs: []string{"-k"}, Settings: map[string]string{"full_page_writes": "on",
		"max_wal_size": "'256MB'"}})
	ctx, cancel := context.WithCancel(context.Background())
	if err := b.pg.ExecIn(ctx, "shop",
		`CREATE TABLE big (id int PRIMARY KEY, v text)`,
		fmt.Sprintf(`INSERT INTO big SELECT i, repeat(md5(i::text), 3) FROM generate_series(1, %d) i`, rows)); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	loop := func(statements ...string) {
		writers.Go(func() {
			conn, err := b.pg.Connect(ctx, "shop")
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
			for ctx.Err() == nil {
				for _, s := range statements {
					if _, err := conn.Exec(ctx, s); err != nil && ctx.Err() == nil {
						t.Errorf("%s: %v", s, err)
						return
					}
				}
			}
		})
	}
	loop(`UPDATE big SET v = md5(random()::text) WHERE id IN (SELECT (random() * ` + strconv.Itoa(rows) +
		`)::int FROM generate_series(1, 50))`)
	loop(`DROP TABLE IF EXISTS passing`, `CREATE TABLE passing (id serial PRIMARY KEY)`, `INSERT INTO passing DEFAULT VALUES`)
	loop(`CREATE INDEX CONCURRENTLY coming ON customer (name, n)`, `DROP INDEX coming`)
	defer writers.Wait()
	defer cancel()
	b.job.Verify = true
	for i := range rounds {
		kind := pgbackrest.Incremental
		if i == 0 {
			kind = pgbackrest.Full
		}
		got := b.run(t, kind)
		if v := got.Status.Verified; got.Health != catalog.Verified || v.Rows < int64(rows) {
			t.Errorf("backup %d is %s (%s), want verified", i, got.Health, got.Problem)
		}
	}
}
