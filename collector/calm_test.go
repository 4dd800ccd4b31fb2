package collector

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

type aProber struct{}

func (aProber) Snapshot() probe.Snapshot { return probe.Snapshot{} }

// engineThatVisits has the collectors that are built in, and does nothing by itself. It visits databases by a connection string of their
// own, which leads to the same server.
func engineThatVisits(t *testing.T, c *pgtest.Cluster, visits string, databases ...string) *Engine {
	t.Helper()
	to := func(dsn string) *postgres.Connector {
		connector, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: dsn, Settings: postgres.Settings{
			ApplicationName: "pg_reliability_exporter", StatementTimeout: 10 * time.Second, LockTimeout: time.Second}})
		must(t, err)
		return connector
	}
	connector := to(visits)
	pool, err := postgres.NewPool(postgres.PoolOptions{Connector: to(c.MonitorDSN()), Min: 1, Max: 3, Apart: 2, Logger: log.NewNopLogger()})
	must(t, err)
	t.Cleanup(pool.Close)
	return New(Options{Pool: pool, Prober: aProber{}, Logger: log.NewNopLogger(), Definitions: embeddedDefinitions(t), Databases: Databases{
		Include: databases,
		Connect: func(ctx context.Context, database string) (*postgres.Session, error) {
			return connector.InDatabase(database).Connect(ctx)
		}}})
}

// A visit is one login and a round trip for each collector, however many tables there are.
func TestAVisitTakesFewRoundTrips(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	var names []string
	for i := range 5 {
		names = append(names, fmt.Sprintf("d%d", i))
		must(t, c.Exec(t.Context(), "CREATE DATABASE "+names[i]))
	}
	must(t, c.ExecIn(t.Context(), names[4],
		"DO $$ BEGIN FOR i IN 1..200 LOOP EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY)', i); END LOOP; END $$"))
	proxy := pgtest.NewProxy(t, c)
	e := engineThatVisits(t, c, proxy.DSN(c.MonitorDSN()), names...)
	must(t, e.listDatabases(t.Context()))
	const login, facts = 4, 2
	for range names {
		v, units, _ := e.nextVisit(time.Now())
		if v == nil {
			t.Fatal("a database is not visited")
		}
		logins, trips, began := proxy.Accepted(), proxy.RoundTrips(), time.Now()
		if reason := e.visit(t.Context(), v, units); reason != postgres.OK {
			t.Fatal(reason)
		}
		took := time.Since(began)
		logins, trips = proxy.Accepted()-logins, proxy.RoundTrips()-trips
		t.Logf("%s: %d collectors, %d round trips, %s", v.name, len(units), trips, took.Round(time.Millisecond))
		if most := login + facts + len(units); logins != 1 || trips > most || len(units) < 10 {
			t.Errorf("%s: %d collectors took %d logins and %d round trips, want 1 and %d at the most", v.name, len(units), logins, trips, most)
		}
		if took > pgtest.Patience(5*time.Second) {
			t.Errorf("%s: the visit took %s", v.name, took)
		}
	}
}

// A database in which nobody was since it was visited has nothing new: ten of them cost a server more than all else that is asked of it.
func TestACalmDatabaseIsVisitedLessOften(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"autovacuum": "off"}})
	ctx := t.Context()
	if err := c.Exec(ctx, "CREATE DATABASE shop"); err != nil {
		t.Fatal(err)
	}
	e := engineThatVisits(t, c, c.MonitorDSN(), "shop")
	list := func() {
		t.Helper()
		if err := e.listDatabases(ctx); err != nil {
			t.Fatal(err)
		}
	}
	// gone waits until nobody is connected, and has said so.
	gone := func() {
		t.Helper()
		pgtest.Eventually(t, 10*time.Second, func() error {
			return c.ExecIn(ctx, "postgres", "DO $$ BEGIN IF EXISTS (SELECT FROM pg_stat_activity WHERE datname = 'shop') THEN"+
				" RAISE 'somebody is there'; END IF; END $$")
		})
	}
	visit := func(in time.Duration) (collectors int) {
		t.Helper()
		v, units, _ := e.nextVisit(time.Now().Add(in))
		if v == nil {
			return 0
		}
		if reason := e.visit(ctx, v, units); reason != postgres.OK {
			t.Fatal(reason)
		}
		gone()
		return len(units)
	}
	const soon = 2 * time.Minute // and what its own moment in an interval may add
	list()
	all := visit(0)
	if all < 10 {
		t.Fatalf("%d collectors run in a database that is new", all)
	}
	list()
	if n := visit(soon); n != 0 {
		t.Errorf("%d collectors run two minutes later in a database where nobody was", n)
	}
	if n := visit(5 * soon); n == 0 {
		t.Error("none ran ten minutes later: what autovacuum does is never seen")
	}
	list()

	s, err := c.Connect(ctx, "shop") // short, and long over when it is looked for
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close(ctx)
	gone()
	list()
	n := visit(soon)
	if knows := c.Install.Major >= 14; knows == (n == 0) {
		t.Errorf("%d collectors run in a database where somebody was", n)
	}
	list()
	if s, err = c.Connect(ctx, "shop"); err != nil { // is still there
		t.Fatal(err)
	}
	defer func() { _ = s.Close(context.Background()) }()
	for range 2 {
		list()
		v, _, _ := e.nextVisit(time.Now().Add(soon))
		if v == nil {
			t.Error("a database in use is left alone")
		}
	}
}

func TestAHeavyQueryIsRunLessOften(t *testing.T) {
	u := queryUnit{def: &definition.Definition{Refresh: time.Minute}}
	for took, want := range map[time.Duration]time.Duration{
		0: time.Minute, 100 * time.Millisecond: time.Minute, 3 * time.Second: 5 * time.Minute, time.Minute: time.Hour,
	} {
		if got := u.pace(took); got != want {
			t.Errorf("after one of %s the next comes in %s, want %s", took, got, want)
		}
	}
}
