// Package hostile is a server for tests that speaks PostgreSQL's protocol and means ill: each Fault is one way to hurt a client
// that trusts what it reads.
package hostile

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// PID is the process id that the server claims to have.
const PID = 4711

// Server listens on 127.0.0.1 until its test ends, and does to each client what its fault says.
type Server struct {
	listener net.Listener
	// columns names the columns of a query's answer; nil for one column "v".
	columns func(sql string) []string
	fault   atomic.Pointer[Fault]
	met     atomic.Int64
	sent    atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// New starts a server. columns, if set, says which columns the answer to a query must have to be believed.
func New(t testing.TB, columns func(sql string) []string) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if columns == nil {
		columns = func(string) []string { return []string{"v"} }
	}
	s := &Server{listener: l, columns: columns, conns: map[net.Conn]struct{}{}}
	s.fault.Store(&Fault{})
	go s.accept()
	t.Cleanup(func() { _ = l.Close(); s.Be(Fault{}) })
	return s
}

// Port is where it listens.
func (s *Server) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// Be makes the server do as the fault says from now on, and cuts the connections there are.
func (s *Server) Be(f Fault) {
	s.fault.Store(&f)
	s.met.Store(0)
	s.sent.Store(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// Met is how often a client has met the fault since Be.
func (s *Server) Met() int { return int(s.met.Load()) }

// Sent is how many bytes clients have taken since Be.
func (s *Server) Sent() int64 { return s.sent.Load() }

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = struct{}{}
		s.mu.Unlock()
		go func() {
			defer func() {
				_ = conn.Close()
				s.mu.Lock()
				delete(s.conns, conn)
				s.mu.Unlock()
			}()
			c := &Conn{server: s, net: conn, backend: pgproto3.NewBackend(conn, conn), statements: map[string]string{}}
			_ = c.serve(*s.fault.Load())
		}()
	}
}

// Conn is one client.
type Conn struct {
	server     *Server
	net        net.Conn
	backend    *pgproto3.Backend
	statements map[string]string
	portal     string // SQL of the portal
}

// errCut ends a connection on purpose.
var errCut = errors.New("cut")

// Send writes messages; the error is the client's going away.
func (c *Conn) Send(messages ...pgproto3.BackendMessage) error {
	var b []byte
	var err error
	for _, m := range messages {
		if b, err = m.Encode(b); err != nil {
			return err
		}
	}
	return c.Write(b)
}

// Write sends bytes as they are.
func (c *Conn) Write(b []byte) error {
	n, err := c.net.Write(b)
	c.server.sent.Add(int64(n))
	return err
}

// Forever sends the same bytes until the client goes.
func (c *Conn) Forever(b []byte) error {
	for len(b) < 32<<10 {
		b = append(b, b...)
	}
	for {
		if err := c.Write(b); err != nil {
			return err
		}
	}
}

// Slowly sends bytes one by one.
func (c *Conn) Slowly(b []byte, pause time.Duration) error {
	for i := range b {
		if err := c.Write(b[i : i+1]); err != nil {
			return err
		}
		time.Sleep(pause)
	}
	return nil
}

// Silence waits until the client goes.
func (c *Conn) Silence() error {
	_, err := io.Copy(io.Discard, c.net)
	return errors.Join(err, errCut)
}

func (c *Conn) serve(f Fault) error {
	if err := c.startup(); err != nil {
		return err
	}
	if f.Login != nil {
		c.server.met.Add(1)
		return errors.Join(f.Login(c), errCut)
	}
	if err := c.Send(welcome()...); err != nil {
		return err
	}
	for {
		message, err := c.backend.Receive()
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case *pgproto3.Parse:
			c.statements[m.Name] = m.Query
			err = c.Send(&pgproto3.ParseComplete{})
		case *pgproto3.Describe:
			err = c.describe(m)
		case *pgproto3.Bind:
			c.portal = c.statements[m.PreparedStatement]
			err = c.Send(&pgproto3.BindComplete{})
		case *pgproto3.Execute:
			err = c.execute(f)
		case *pgproto3.Sync:
			err = c.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		case *pgproto3.Query:
			err = c.simple(f, m.String)
		case *pgproto3.Terminate:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (c *Conn) startup() error {
	for {
		message, err := c.backend.ReceiveStartupMessage()
		if err != nil {
			return err
		}
		switch message.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if err := c.Write([]byte("N")); err != nil {
				return err
			}
		case *pgproto3.StartupMessage:
			return nil
		default:
			return errCut
		}
	}
}

func welcome() []pgproto3.BackendMessage {
	return []pgproto3.BackendMessage{
		&pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "server_version", Value: "17.2"},
		&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"},
		&pgproto3.BackendKeyData{ProcessID: PID, SecretKey: []byte("key!")}, &pgproto3.ReadyForQuery{TxStatus: 'I'},
	}
}

// describe answers for a statement as for a portal; a fault's own description comes with its execution, where it may lie.
func (c *Conn) describe(m *pgproto3.Describe) error {
	if m.ObjectType == 'S' {
		return c.Send(&pgproto3.ParameterDescription{}, Described(c.columnsOf(c.statements[m.Name])...))
	}
	return nil // with execute
}

func (c *Conn) columnsOf(sql string) []string {
	switch {
	case isFirst(sql):
		return []string{"pid", "version"}
	case sql == plain:
		return []string{"one"}
	}
	if n, is := isProbe(sql); is {
		return make([]string, n)
	}
	return c.server.columns(sql)
}

// isProbe is whether a query is the read probe of the exporter, and how many columns its answer has.
func isProbe(sql string) (columns int, is bool) {
	return strings.Count(sql, ",\n       ") + 1, strings.Contains(sql, "pg_postmaster_start_time()") && strings.Contains(sql, "AS recovery")
}

// plain is what every server must be able to answer to be up, for the exporter's prober.
const plain = "SELECT 1"

// isFirst is whether a query is the first of each session of ours.
func isFirst(sql string) bool {
	return strings.Contains(sql, "pg_backend_pid()") && strings.Contains(sql, "server_version_num")
}

// simple answers a query of the simple protocol: a question to PgBouncer's admin console, or the driver's check of
// target_session_attrs, whose answer is empty.
func (c *Conn) simple(f Fault, sql string) (err error) {
	c.portal = sql
	switch {
	case sql == consoleFirst:
		err = c.Send(Described("version"), Row("PgBouncer 1.25.0"), done())
	case strings.HasPrefix(sql, "SHOW "):
		err = c.execute(f)
	default:
		c.server.met.Add(1)
		err = c.Send(&pgproto3.EmptyQueryResponse{})
	}
	if err != nil {
		return err
	}
	return c.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
}

// consoleFirst is what an admin console is asked first.
const consoleFirst = "SHOW VERSION"

func (c *Conn) execute(f Fault) error {
	columns := c.columnsOf(c.portal)
	_, probed := isProbe(c.portal)
	switch {
	case isFirst(c.portal) && f.First != nil:
		c.server.met.Add(1)
		return f.First(c, columns)
	case isFirst(c.portal):
		return c.Send(Described(columns...), Row("4711", "170002"), &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
	case c.portal == plain:
		return c.Send(Described(columns...), Row("1"), &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
	case f.Probe != nil && probed:
		c.server.met.Add(1)
		return f.Probe(c, columns)
	case probed: // all is unknown
		return c.Send(Described(columns...), &pgproto3.DataRow{Values: make([][]byte, len(columns))}, done())
	case f.Query != nil:
		c.server.met.Add(1)
		return f.Query(c, columns)
	}
	return c.Send(Described(columns...), &pgproto3.CommandComplete{CommandTag: []byte("SELECT 0")})
}

// Described is the description of text columns.
func Described(names ...string) *pgproto3.RowDescription {
	const text = 25
	d := &pgproto3.RowDescription{}
	for _, n := range names {
		d.Fields = append(d.Fields, pgproto3.FieldDescription{Name: []byte(n), DataTypeOID: text, DataTypeSize: -1, TypeModifier: -1})
	}
	return d
}

// Row is one row of text.
func Row(values ...string) *pgproto3.DataRow {
	d := &pgproto3.DataRow{}
	for _, v := range values {
		d.Values = append(d.Values, []byte(v))
	}
	return d
}
