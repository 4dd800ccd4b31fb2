package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// FuzzServer: whatever bytes a server sends, a login and a pipeline end, in time, with rows as wide as their descriptions or with an error
// that is short and clean.
func FuzzServer(f *testing.F) {
	encode := func(messages ...pgproto3.BackendMessage) []byte {
		var b []byte
		for _, m := range messages {
			b, _ = m.Encode(b)
		}
		return b
	}
	login := encode(&pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "server_version", Value: "17.2"},
		&pgproto3.BackendKeyData{ProcessID: 7, SecretKey: []byte("key!")}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	described := &pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("pid")}, {Name: []byte("version")}}}
	done := []pgproto3.BackendMessage{&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}, &pgproto3.ReadyForQuery{TxStatus: 'I'}}
	row := &pgproto3.DataRow{Values: [][]byte{[]byte("7"), []byte("170002")}}
	first := encode(append([]pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, described, row}, done...)...)
	second := encode(append([]pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.ParameterDescription{}, described,
		&pgproto3.BindComplete{},
		described, row}, done...)...)
	whole := bytes.Join([][]byte{login, first, second}, nil)
	for _, seed := range [][]byte{
		nil, login, whole, whole[:len(whole)-3], append(bytes.Clone(login), second...), bytes.Join([][]byte{login, first, first}, nil),
		append(bytes.Clone(login), 'D', 0xff, 0xff, 0xff, 0xff), []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		bytes.Join([][]byte{login, first, encode(&pgproto3.ErrorResponse{Severity: "ERROR", Message: "\x1b[2J\xff"})}, nil),
		bytes.Join([][]byte{login, first, encode(&pgproto3.ParseComplete{}, &pgproto3.ParameterDescription{}, described, &pgproto3.BindComplete{},
			described,
			&pgproto3.DataRow{})}, nil),
	} {
		f.Add(seed)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = l.Close() })
	c, err := postgres.NewConnector(postgres.ConnectorOptions{
		DSN:      fmt.Sprintf("host=127.0.0.1 port=%d user=u password=p dbname=d sslmode=disable", l.Addr().(*net.TCPAddr).Port),
		Settings: settings(),
	})
	if err != nil {
		f.Fatal(err)
	}
	var current atomic.Pointer[[]byte]
	go func() { // the driver follows a login that was cut with a request to cancel it
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buffer := make([]byte, 4096)
				_, _ = conn.Read(buffer)
				_, _ = conn.Write(*current.Load())
				if tcp, ok := conn.(*net.TCPConn); ok {
					_ = tcp.CloseWrite()
				}
				_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
				_, _ = conn.Read(buffer)
			}()
		}
	}()
	f.Fuzz(func(t *testing.T, answer []byte) {
		current.Store(&answer)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s, err := c.Connect(ctx)
		if err == nil {
			defer s.Close()
			var out []postgres.Outcome
			out, err = s.Pipeline(ctx, []postgres.Statement{{SQL: "SELECT 1"}}, func(_ int, fields []pgconn.FieldDescription, values [][]byte) {
				if len(fields) != len(values) {
					t.Errorf("%d values in %d columns", len(values), len(fields))
				}
			})
			if err == nil {
				err = out[0].Err
			}
		}
		if err == nil {
			return
		}
		text := err.Error()
		if len(text) > 1200 || !utf8.ValidString(text) || bytes.ContainsFunc([]byte(text), unicode.IsControl) {
			t.Errorf("the error is %q", text)
		}
		postgres.ReasonOf(err)
	})
}
