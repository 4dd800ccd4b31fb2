// Package pgbouncer measures a PgBouncer by its admin console: who waits for a connection, how full each pool is, what is paused or
// disabled. It knows PgBouncer 1.17 to 1.25: columns are found by name, and one that a version lacks is absent.
package pgbouncer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

const (
	// Interval is how often the console is asked.
	Interval = 10 * time.Second
	// answerTimeout bounds the login and all questions of one collection together. A console answers in a millisecond.
	answerTimeout = 4 * time.Second
	// nameLimit bounds a name that the console tells, in bytes; PgBouncer's own bounds are 64 for databases and 128 for users.
	nameLimit = 200
)

// PgBouncer is one of them. Its console is asked in the background on one connection, which is kept: a scrape opens none, and a
// PgBouncer that takes no further client is still seen.
type PgBouncer struct {
	connector *postgres.Connector

	asking  sync.Mutex
	console *postgres.Console // nil while there is none
}

// New measures the PgBouncer at the connector's address. It does not connect: PgBouncer may start later.
func New(c *postgres.Connector) *PgBouncer { return &PgBouncer{connector: c} }

// Name is pgbouncer.
func (p *PgBouncer) Name() string { return "pgbouncer" }

// Help is one line for users.
func (p *PgBouncer) Help() string {
	return "Pools, waiting clients, traffic and paused databases of the PgBouncer given with --pgbouncer.dsn."
}

// Collect asks the console. It returns within 4 s, or at ctx's end if that is earlier. An answer that is not there costs itself; without
// a console nothing but pgbouncer_up is emitted.
func (p *PgBouncer) Collect(ctx context.Context, out *metric.Sink) error {
	p.asking.Lock()
	defer p.asking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	version, err := p.greet(ctx)
	out.Bool(Up, err == nil)
	if err != nil {
		return fmt.Errorf("PgBouncer at %s: %w", p.connector.Target(), err)
	}
	out.Add(VersionInfo, 1, version)
	var errs []error
	for _, t := range tables() {
		answer, err := p.console.Ask(ctx, t.question)
		if err == nil {
			err = t.emit(out, answer)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("PgBouncer at %s: %w", p.connector.Target(), err))
		}
		if p.console.Broken() {
			break
		}
	}
	return errors.Join(errs...)
}

// greet finds out whether the console answers, and who it is; one whose kept connection broke gets a second chance with a new one.
func (p *PgBouncer) greet(ctx context.Context) (version string, err error) {
	if p.console != nil && !p.console.Broken() {
		if version, err = p.version(ctx); err == nil || ctx.Err() != nil || !p.console.Broken() {
			return version, err
		}
	}
	if p.console, err = p.connector.Console(ctx); err != nil {
		p.console = nil
		return "", err
	}
	return p.version(ctx)
}

// version is such as "PgBouncer 1.18.0".
func (p *PgBouncer) version(ctx context.Context) (string, error) {
	t, err := p.console.Ask(ctx, "SHOW VERSION")
	if err != nil {
		return "", err
	}
	if len(t.Rows) != 1 || len(t.Columns) != 1 || t.Rows[0][0] == nil {
		return "", errors.New("the console does not tell its version: is it PgBouncer 1.17 or newer?")
	}
	return name(t.Rows[0][0]), nil
}

// Close ends the kept connection.
func (p *PgBouncer) Close() {
	p.asking.Lock()
	defer p.asking.Unlock()
	if p.console != nil {
		p.console.Close()
		p.console = nil
	}
}

// name is a text of the console's as a label, bounded; NULL is empty.
func name(text *string) string {
	if text == nil {
		return ""
	}
	return (*text)[:min(len(*text), nameLimit)] // what is cut within a character, the sink makes valid
}

// number is a value of the console's; false for NULL and for what is none.
func number(text *string) (float64, bool) {
	if text == nil {
		return 0, false
	}
	v, err := strconv.ParseFloat(*text, 64)
	return v, err == nil && !math.IsNaN(v) && !math.IsInf(v, 0)
}
