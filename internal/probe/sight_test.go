package probe

import (
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

func TestARoleWithoutPgMonitorIsNamed(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		must(t, c.Exec(t.Context(), "REVOKE pg_monitor FROM "+pgtest.Monitor))
		p := start(t, quick(connectTo(t, c.MonitorDSN())))
		p.waitFor(t, postgres.OK)
		assertSamples(t, p, map[string]float64{"pg_up": 1, "pg_reliability_role_has_pg_monitor": 0})
		if want := `HINT: GRANT pg_monitor TO \"` + pgtest.Monitor + `\"`; strings.Count(p.log.String(), want) != 1 {
			t.Errorf("the log does not say %s once:\n%s", want, p.log)
		}
		must(t, c.Exec(t.Context(), "GRANT pg_monitor TO "+pgtest.Monitor))
		p.wait(t, "seeing all", func(s Snapshot) bool { return s.Server.Sight == FullSight })
		assertSamples(t, p, map[string]float64{"pg_reliability_role_has_pg_monitor": 1})
	})
}
