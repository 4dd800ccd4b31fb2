package probe

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

func TestTheEndOfTheServersCertificate(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	today := time.Now().Truncate(time.Second)
	leaf, issuer := today.AddDate(0, 0, 90), today.AddDate(0, 0, 20)
	must(t, c.EnableTLS(t.Context(), leaf, issuer))
	const own, first = "pg_reliability_tls_certificate_expiry_timestamp_seconds", "pg_reliability_tls_chain_expiry_timestamp_seconds"

	plain := start(t, quick(connectTo(t, c.MonitorDSN())))
	plain.waitFor(t, postgres.OK)
	assertSamples(t, plain, map[string]float64{"pg_up": 1}, "pg_reliability_tls_")

	p := start(t, quick(connectTo(t, strings.Replace(c.MonitorDSN(), "sslmode=disable", "sslmode=require", 1))))
	p.waitFor(t, postgres.OK)
	assertSamples(t, p, map[string]float64{own: float64(leaf.Unix()), first: float64(issuer.Unix())})
	assertClean(t, p)

	// A new one is met by the next login; the connection that is kept goes on with the old one.
	renewed := today.AddDate(0, 0, 10)
	must(t, c.EnableTLS(t.Context(), renewed, issuer))
	pgtest.Eventually(t, 10*time.Second, func() error {
		if got := samples(t, p); got[own] != float64(renewed.Unix()) || got[first] != got[own] {
			return fmt.Errorf("ends at %v, the chain at %v", got[own], got[first])
		}
		return nil
	})
	// It is not forgotten while the server is down.
	must(t, c.Stop())
	p.waitFor(t, postgres.Refused)
	assertSamples(t, p, map[string]float64{"pg_up": 0, own: float64(renewed.Unix())})
}
