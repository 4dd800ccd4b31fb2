package collector

import (
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// What pg_buffercache sums up is on the page where the extension is, for the role that users give us, and adds up to all shared
// buffers.
func TestSharedBuffersAreSummedUp(t *testing.T) {
	t.Parallel()
	all := pgtest.Installed()
	if len(all) == 0 || all[len(all)-1].Major < 16 {
		t.Skip("pg_buffercache_summary() came with 16. HINT: Run internal/pgtest/install.sh versions")
	}
	c := pgtest.New(t, pgtest.Options{Install: all[len(all)-1], Settings: map[string]string{"shared_buffers": "'16MB'"}})
	if got := ask(t, c, "postgres", "buffercache_summary"); len(got) > 0 {
		t.Errorf("without the extension: %v", got)
	}
	must(t, c.Exec(t.Context(), "CREATE SCHEMA \"odd place\"", "GRANT USAGE ON SCHEMA \"odd place\" TO PUBLIC",
		"CREATE EXTENSION pg_buffercache SCHEMA \"odd place\"", "CREATE TABLE dirty AS SELECT generate_series(1, 10000) AS id"))
	got := ask(t, c, "postgres", "buffercache_summary")
	const prefix = "pg_buffercache_summary_"
	used, unused := got[prefix+"buffers_used"], got[prefix+"buffers_unused"]
	if used+unused != 2048 || used < 100 || got[prefix+"usagecount_avg"] <= 0 {
		t.Errorf("%v", got)
	}
	if dirty := got[prefix+"buffers_dirty"]; dirty < 10 {
		t.Errorf("%v dirty buffers after a table was written: %v", dirty, got)
	}
}
