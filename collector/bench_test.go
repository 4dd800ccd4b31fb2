package collector

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// BenchmarkQueries shows what each collector's statement costs when it is prepared, and all live ones
// in one pipeline, on a server with 10 databases of 200 tables.
func BenchmarkQueries(b *testing.B) {
	ctx := context.Background()
	c := pgtest.New(b, pgtest.Options{Settings: map[string]string{
		"shared_buffers": "128MB", "shared_preload_libraries": "'pg_stat_statements'", "pg_stat_statements.track": "all",
	}})
	for i := range 10 {
		name := fmt.Sprintf("db%d", i)
		must(b, c.Exec(ctx, "CREATE DATABASE "+name))
		var tables strings.Builder
		for j := range 200 {
			fmt.Fprintf(&tables, "CREATE TABLE t%d (id serial PRIMARY KEY, v text); INSERT INTO t%d SELECT g, 'x' FROM generate_series(1, "+
				"10) AS g; ", j, j)
		}
		must(b, c.ExecIn(ctx, name, "DO $$ BEGIN "+tables.String()+"END $$", "ANALYZE"))
	}
	for range 20 {
		hold(b, c, "db1", "SELECT 1")
	}
	must(b, c.ExecIn(ctx, "db0", "CREATE EXTENSION pg_stat_statements", "GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO "+pgtest.Monitor))
	conn := connectMonitor(b, c, "db0")
	version := serverVersion(b, conn)
	installed := installedExtensions(b, conn)
	pg := conn.PgConn()
	var live []string
	defs := embeddedDefinitions(b)
	for i := range defs {
		d := &defs[i]
		sql, ok := d.SQLFor(version)
		if !ok || d.Requires.Role == definition.RoleStandby {
			continue
		}
		if sql, ok = d.Requires.WithExtension(sql, installed); !ok {
			continue
		}
		if _, err := pg.Prepare(ctx, d.Name, sql, nil); err != nil {
			b.Fatal(err)
		}
		kind := "cached"
		if d.Live() {
			kind = "live"
			live = append(live, d.Name)
		}
		b.Run(kind+"/"+d.Name, func(b *testing.B) {
			for b.Loop() {
				if r := pg.ExecPrepared(ctx, d.Name, nil, nil, nil).Read(); r.Err != nil {
					b.Fatal(r.Err)
				}
			}
		})
	}
	b.Run(fmt.Sprintf("live-pipeline-of-%d", len(live)), func(b *testing.B) {
		for b.Loop() {
			p := pg.StartPipeline(ctx)
			for _, name := range live {
				p.SendQueryPrepared(name, nil, nil, nil)
				must(b, p.Sync())
			}
			for range live {
				_, err := p.GetResults()
				must(b, err)
			}
			must(b, p.Close())
		}
	})
}
