package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// closeTimeout bounds saying goodbye to the server.
const closeTimeout = time.Second

// Session is one connection. It is not safe for concurrent use.
type Session struct {
	conn     *pgconn.PgConn
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
	// closed: Close was called. The driver may still be saying goodbye, in another goroutine.
	closed bool
	rest   rest
}

// Statement is one query of a pipeline.
type Statement struct {
	SQL string
	// Timeout overrides the session's statement_timeout; 0 leaves it.
	Timeout time.Duration
	// MaxBytes is what the server may send for it; 0 is 1 MiB. The statements of a pipeline share the sum of theirs.
	MaxBytes int64
	// Undo runs it in a transaction that is rolled back: what it changes of the session, such as settings, does not stay for those behind
	// it. Locks that it takes for the session are given back. It costs no round trip.
	Undo bool
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

// Within is a Timeout for a statement that is to end within limit, and within what the session has; 0 where the session sees to it.
func (s *Session) Within(limit time.Duration) time.Duration {
	if own := s.settings.StatementTimeout; own != 0 && own <= limit {
		return 0
	}
	return limit
}

// Pooled says whether a pooler in transaction mode stands in between.
func (s *Session) Pooled() bool { return s.pooled }

// Broken says that the connection is gone, or was closed.
func (s *Session) Broken() bool { return s.closed || s.conn.IsClosed() }

// Close ends the session without waiting for it.
func (s *Session) Close() {
	if s.Broken() {
		return
	}
	s.closed = true
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_ = s.conn.Close(ctx)
	}()
}

// abort ends the connection at once, without a word to a server that does not keep to the protocol.
func (s *Session) abort() {
	_ = s.conn.Conn().Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.conn.Close(ctx)
}

// Query runs one statement in one round trip and returns its rows as text; nil is NULL.
func (s *Session) Query(ctx context.Context, sql string) ([][]*string, error) {
	var rows [][]*string
	count := 0
	out, err := s.Pipeline(ctx, []Statement{{SQL: sql}}, func(_ int, _ []pgconn.FieldDescription, values [][]byte) {
		if count++; count <= queryRows {
			rows = append(rows, copyRow(values))
		}
	})
	switch {
	case err != nil:
		return nil, err
	case out[0].Err != nil:
		return rows, out[0].Err
	}
	if err := tooMany(count); err != nil {
		return nil, err
	}
	return rows, nil
}

// Pipeline sends all statements at once and reads their results: one round trip for all of them, and one
// that fails, fails alone, because a Sync stands behind each. The error is the connection's; then
// every statement without a result has it as its own, too.
func (s *Session) Pipeline(ctx context.Context, statements []Statement, row RowFunc) ([]Outcome, error) {
	return s.Stream(ctx, statements, row, func(int, Outcome) {})
}

// Stream is Pipeline that tells of each statement's end as soon as it is read, of those that the connection's end cut short, too.
func (s *Session) Stream(ctx context.Context, statements []Statement, row RowFunc, ended func(int, Outcome)) ([]Outcome, error) {
	outcomes := make([]Outcome, len(statements))
	var limit int64
	for _, st := range statements {
		limit += cmp.Or(st.MaxBytes, queryBytes)
	}
	meterOf(s.conn).begin("a query's answer", limit)
	s.show(ctx)
	p := s.conn.StartPipeline(ctx)
	queue := make([]sent, len(statements))
	for i, st := range statements {
		queue[i] = s.send(p, st)
		p.SendPipelineSync()
		if st.Undo {
			s.sendUndo(p)
			p.SendPipelineSync()
		}
	}
	started := time.Now()
	err := p.Flush()
	if err != nil {
		err = tidy(err)
	}
	done := 0
	for ; err == nil && done < len(statements); done++ {
		outcomes[done].Err, err = s.receive(p, queue[done], func(f []pgconn.FieldDescription, v [][]byte) { row(done, f, v) })
		if err == nil && statements[done].Undo {
			_, err = s.receive(p, sent{before: noRows}, nil) // outside a transaction the server warns, and that is all
		}
		now := time.Now()
		outcomes[done].Duration, started = now.Sub(started), now
		if err != nil {
			break
		}
		ended(done, outcomes[done])
	}
	if err != nil {
		s.abort() // nobody knows which answer would come next
	}
	if closeErr := p.Close(); err == nil && s.Broken() {
		err = tidy(closeErr)
	}
	if err != nil {
		for ; done < len(statements); done++ {
			if outcomes[done].Err == nil {
				outcomes[done].Err = err
			}
			ended(done, outcomes[done])
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

// noRows of what was sent are anybody's.
const noRows = math.MaxInt

// sendUndo stands behind a Sync of its own: a statement that fails makes the server skip all up to the next one.
func (s *Session) sendUndo(p *pgconn.Pipeline) {
	p.SendQueryParams("ROLLBACK", nil, nil, nil, nil)
	if !s.pooled { // else the process may hold locks of others
		p.SendQueryParams("SELECT pg_catalog.pg_advisory_unlock_all()", nil, nil, nil, nil)
	}
}

func (s *Session) send(p *pgconn.Pipeline, st Statement) sent {
	q := sent{sql: st.SQL}
	if st.Undo {
		p.SendQueryParams("BEGIN", nil, nil, nil, nil)
		q.before++
	}
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
	var set []string
	for _, p := range append(s.settings.parameters(), s.settings.afterLogin()...) {
		name, value := p.name, p.value
		switch {
		case s.version < p.since, name == idleLimit: // the sessions that idle are the pooler's
			continue
		case name == readOnlySetting && value == "off":
			continue // a transaction that has begun can't become writable, and is so already
		case name == readOnlySetting:
			name = "transaction_read_only"
		case name == "statement_timeout":
			value = milliseconds(timeout)
		}
		set = append(set, fmt.Sprintf("pg_catalog.set_config('%s', '%s', true)", name, value))
	}
	return "SELECT " + strings.Join(set, ", ")
}

// receive reads one statement's results up to its Sync. The first error is the statement's own, the
// second the connection's.
func (s *Session) receive(p *pgconn.Pipeline, q sent, row func([]pgconn.FieldDescription, [][]byte)) (stmtErr, connErr error) {
	for step := 0; ; step++ {
		result, err := p.GetResults()
		if err != nil {
			if err = tidy(err); fatal(err) {
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
				fields, values := r.FieldDescriptions(), r.Values()
				if len(values) != len(fields) {
					err := notPostgres("the server sent a row of %d columns and had announced %d", len(values), len(fields))
					return err, err
				}
				if step == q.before {
					row(fields, values)
				}
			}
			if _, err := r.Close(); err != nil {
				if err = tidy(err); fatal(err) {
					return err, err
				}
				stmtErr = err
			}
		case nil:
			err := notPostgres("the server ended the pipeline early")
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

// readOne is the answer's first row, nil without one.
func readOne(r *pgconn.ResultReader) ([]*string, error) {
	var row []*string
	if r.NextRow() {
		row = copyRow(r.Values())
	}
	_, err := r.Close()
	return row, err
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
