package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// closeTimeout bounds saying goodbye to the server.
const closeTimeout = time.Second

// Session is one connection. It is not safe for concurrent use.
type Session struct {
	conn     *pgx.Conn
	settings Settings
	version  int
	phases   Phases
	// certificate is what the server showed at the start.
	certificate Certificate
	// pooled: the server's process is lent for one transaction at a time, so that neither settings nor
	// prepared statements stay.
	pooled   bool
	prepared map[string]string // SQL to the name of its prepared statement
	named    int
}

// Statement is one query of a pipeline.
type Statement struct {
	SQL string
	// Timeout overrides the session's statement_timeout; 0 leaves it.
	Timeout time.Duration
}

// Outcome of one statement of a pipeline.
type Outcome struct {
	Err error
	// Duration from the end of the statement before (the first: from sending) to this one's end.
	Duration time.Duration
}

// RowFunc takes one row of a statement. values are text, nil is NULL, and valid until it returns.
type RowFunc func(statement int, fields []pgconn.FieldDescription, values [][]byte)

// Version is server_version_num, such as 150018.
func (s *Session) Version() int { return s.version }

// Phases says how long the parts of connecting took.
func (s *Session) Phases() Phases { return s.phases }

// Pooled says whether a pooler in transaction mode stands in between.
func (s *Session) Pooled() bool { return s.pooled }

// Broken says that the connection is gone.
func (s *Session) Broken() bool { return s.conn.IsClosed() }

// Close ends the session without waiting for it.
func (s *Session) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	if s.conn.IsClosed() {
		cancel()
		return
	}
	go func() {
		defer cancel()
		_ = s.conn.Close(ctx)
	}()
}

// Query runs one statement in one round trip and returns its rows as text; nil is NULL.
func (s *Session) Query(ctx context.Context, sql string) ([][]*string, error) {
	var rows [][]*string
	out, err := s.Pipeline(ctx, []Statement{{SQL: sql}}, func(_ int, _ []pgconn.FieldDescription, values [][]byte) {
		rows = append(rows, copyRow(values))
	})
	if err != nil {
		return nil, err
	}
	return rows, out[0].Err
}

// Pipeline sends all statements at once and reads their results: one round trip for all of them, and one
// that fails, fails alone, because a Sync stands behind each. The error is the connection's; then
// every statement without a result has it as its own, too.
func (s *Session) Pipeline(ctx context.Context, statements []Statement, row RowFunc) ([]Outcome, error) {
	outcomes := make([]Outcome, len(statements))
	p := s.conn.PgConn().StartPipeline(ctx)
	queue := make([]sent, len(statements))
	for i, st := range statements {
		queue[i] = s.send(p, st)
		p.SendPipelineSync()
	}
	started := time.Now()
	err := p.Flush()
	done := 0
	for ; err == nil && done < len(statements); done++ {
		outcomes[done].Err, err = s.receive(p, queue[done], func(f []pgconn.FieldDescription, v [][]byte) { row(done, f, v) })
		now := time.Now()
		outcomes[done].Duration, started = now.Sub(started), now
		if err != nil {
			break
		}
	}
	if closeErr := p.Close(); err == nil && s.Broken() {
		err = closeErr
	}
	if err != nil {
		for ; done < len(statements); done++ {
			if outcomes[done].Err == nil {
				outcomes[done].Err = err
			}
		}
	}
	return outcomes, err
}

// sent is what was queued for one statement.
type sent struct {
	sql       string
	preparing string // name given to it, when it was not prepared before
	before    int    // results that come before its own
}

func (s *Session) send(p *pgconn.Pipeline, st Statement) sent {
	q := sent{sql: st.SQL}
	switch {
	case s.pooled:
		p.SendQueryParams(s.localSettings(st.Timeout), nil, nil, nil, nil)
		q.before++
	case st.Timeout != 0 && st.Timeout != s.settings.StatementTimeout:
		p.SendQueryParams("SELECT pg_catalog.set_config('statement_timeout', '"+milliseconds(st.Timeout)+"', true)", nil, nil, nil, nil)
		q.before++
	}
	if s.pooled {
		p.SendQueryParams(st.SQL, nil, nil, nil, nil)
		return q
	}
	name, ok := s.prepared[st.SQL]
	if !ok {
		s.named++
		name = "q" + strconv.Itoa(s.named)
		p.SendPrepare(name, st.SQL, nil)
		q.preparing = name
		q.before++
	}
	p.SendQueryPrepared(name, nil, nil, nil)
	return q
}

// localSettings sets what a session of ours has, for one transaction: PgBouncer hands the server's
// process to somebody else after it.
func (s *Session) localSettings(timeout time.Duration) string {
	if timeout == 0 {
		timeout = s.settings.StatementTimeout
	}
	var b strings.Builder
	b.WriteString("SELECT ")
	for i, p := range s.settings.parameters() {
		name, value := p[0], p[1]
		switch name {
		case "default_transaction_read_only":
			if value == "off" {
				continue // a transaction that has begun can't become writable, and is so already
			}
			name = "transaction_read_only"
		case "statement_timeout":
			value = milliseconds(timeout)
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "pg_catalog.set_config('%s', '%s', true)", name, value)
	}
	return b.String()
}

// receive reads one statement's results up to its Sync. The first error is the statement's own, the
// second the connection's.
func (s *Session) receive(p *pgconn.Pipeline, q sent, row func([]pgconn.FieldDescription, [][]byte)) (stmtErr, connErr error) {
	for step := 0; ; step++ {
		result, err := p.GetResults()
		if err != nil {
			if fatal(err) {
				return err, err
			}
			stmtErr = err
			continue
		}
		switch r := result.(type) {
		case *pgconn.StatementDescription:
			s.prepared[q.sql] = q.preparing
		case *pgconn.PipelineSync:
			if stale(stmtErr) {
				delete(s.prepared, q.sql)
			}
			return stmtErr, nil
		case *pgconn.ResultReader:
			for r.NextRow() {
				if step == q.before {
					row(r.FieldDescriptions(), r.Values())
				}
			}
			if _, err := r.Close(); err != nil {
				if fatal(err) {
					return err, err
				}
				stmtErr = err
			}
		case nil:
			err := errors.New("the server ended the pipeline early")
			return err, err
		}
	}
}

// fatal says whether an error ends the connection: anything but the server's report on one statement.
func fatal(err error) bool {
	var pg *pgconn.PgError
	return !errors.As(err, &pg) || pg.SeverityUnlocalized == "FATAL" || pg.SeverityUnlocalized == "PANIC"
}

// stale says that a prepared statement is of no use any more: gone after DISCARD ALL, or its result's
// type has changed with an extension's update. The next use prepares it again.
func stale(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "26000" || pg.Code == "0A000")
}

func readAll(r *pgconn.ResultReader) ([][]*string, error) {
	var rows [][]*string
	for r.NextRow() {
		rows = append(rows, copyRow(r.Values()))
	}
	_, err := r.Close()
	return rows, err
}

func copyRow(values [][]byte) []*string {
	row := make([]*string, len(values))
	for i, v := range values {
		if v != nil {
			text := string(v)
			row[i] = &text
		}
	}
	return row
}
