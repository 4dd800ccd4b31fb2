package fleet

import (
	"errors"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/collector/pgbouncer"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// Kind is what a listed target is.
type Kind string

const (
	// Postgres is a PostgreSQL server, also one that is reached through a pooler.
	Postgres Kind = "postgres"
	// PgBouncer is asked by its admin console alone.
	PgBouncer Kind = "pgbouncer"

	pgbouncerPort = 6432
)

func (k Kind) known() bool { return k == Postgres || k == PgBouncer }

// parse reads an address as ParseAddress does. The port of a PgBouncer defaults to 6432, and its database is always the console's.
func (k Kind) parse(text string) (Address, error) {
	if k != PgBouncer {
		return ParseAddress(text)
	}
	a, err := parseAddress(text, Address{Port: pgbouncerPort, Database: postgres.ConsoleDatabase})
	if err == nil && a.Database != postgres.ConsoleDatabase {
		err = errors.New("a PgBouncer is asked in its database pgbouncer alone. HINT: Write host:port; to watch the server behind it, " +
			"leave kind out")
	}
	return a, err
}

// NewPgBouncer is a target whose admin console the connector leads to; it has neither Pool nor Prober. maxSamples and budget are as
// TargetOptions has them.
func NewPgBouncer(c *postgres.Connector, maxSamples int, budget *metric.Budget, logger log.Logger) *Target {
	p := pgbouncer.New(c)
	return &Target{Connector: c, pgbouncer: p, Engine: collector.New(collector.Options{
		Logger: logger, Sources: []collector.ScheduledSource{{Source: p, Interval: pgbouncer.Interval}},
		MaxSamples: maxSamples, Budget: budget,
	})}
}
