package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// ConsoleDatabase is what PgBouncer calls its admin console.
const ConsoleDatabase = "pgbouncer"

// Console is a session on PgBouncer's admin console. The console understands SHOW and its like alone, by the simple protocol: it takes
// no settings and has no limits of its own, so that only ctx bounds a question. It is not safe for concurrent use.
type Console struct{ conn *pgconn.PgConn }

// Table is the answer to a question: texts below the names of their columns; nil is NULL.
type Table struct {
	Columns []string
	Rows    [][]*string
}

// Console logs in to the admin console of the PgBouncer at the connector's address, whatever database the connection string names.
func (c *Connector) Console(ctx context.Context) (*Console, error) {
	console := c.InDatabase(ConsoleDatabase)
	console.pooler.Store(true) // settings at the start would be turned down
	conn, _, err := console.open(ctx)
	if err != nil {
		return nil, err
	}
	return &Console{conn: conn}, nil
}

// Ask sends a question such as SHOW POOLS and reads the answer, of at most 1 MiB and 10,000 rows: who sends more is cut off. Only an
// error that the console reports itself leaves the session usable.
func (c *Console) Ask(ctx context.Context, question string) (Table, error) {
	meterOf(c.conn).begin("an answer of the console", queryBytes)
	var t Table
	results := c.conn.Exec(ctx, question)
	err := c.read(results, &t)
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		return t, nil
	}
	// The driver says no more than that the connection is closed where it meets the end between two results.
	if excess := meterOf(c.conn).cut(); excess != nil {
		err = excess
	} else if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err = tidy(err); fatal(err) {
		c.abort()
	}
	return Table{}, fmt.Errorf("%s: %w", question, err)
}

// read keeps the rows of the one table that an answer has.
func (c *Console) read(results *pgconn.MultiResultReader, t *Table) error {
	for results.NextResult() {
		r := results.ResultReader()
		for _, f := range r.FieldDescriptions() {
			t.Columns = append(t.Columns, clean(f.Name, partLimit))
		}
		for r.NextRow() {
			switch values := r.Values(); {
			case len(values) != len(t.Columns):
				return fmt.Errorf("the console sent a row of %d columns and had announced %d: is it PgBouncer?", len(values), len(t.Columns))
			case len(t.Rows) == queryRows:
				return fmt.Errorf("the console sent more than %d rows, %w", queryRows, ErrTooMuch)
			default:
				t.Rows = append(t.Rows, copyRow(values))
			}
		}
		if _, err := r.Close(); err != nil {
			return err
		}
	}
	return nil
}

// Broken says that the connection is gone, or was closed.
func (c *Console) Broken() bool { return c.conn.IsClosed() }

// Close ends the session without waiting for it.
func (c *Console) Close() { (&Session{conn: c.conn}).Close() }

// abort ends the connection at once.
func (c *Console) abort() { (&Session{conn: c.conn}).abort() }
