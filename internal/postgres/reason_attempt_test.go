package postgres_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// With sslmode=prefer, the default, two attempts are made where one is made otherwise. The reason is that of the one that mattered.
func TestReasonIsThatOfTheAttemptThatMattered(t *testing.T) {
	t.Parallel()
	plain, secure := pgtest.New(t, pgtest.Options{}), pgtest.New(t, pgtest.Options{})
	hour := time.Now().Add(time.Hour)
	if err := secure.EnableTLS(t.Context(), hour, hour); err != nil {
		t.Fatal(err)
	}
	noTLS, withTLS := pgtest.New(t, pgtest.Options{}), pgtest.New(t, pgtest.Options{})
	for _, c := range []*pgtest.Cluster{noTLS, withTLS} {
		if err := c.EnableTLS(t.Context(), hour, hour); err != nil {
			t.Fatal(err)
		}
	}
	reject := func(c *pgtest.Cluster, kind string) {
		t.Helper()
		hba := "local all all trust\nhost all postgres all trust\n" + kind + " all all all reject\nhost all all all scram-sha-256\n"
		if err := c.WriteHBA(hba); err != nil {
			t.Fatal(err)
		}
		if err := c.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	reject(noTLS, "hostnossl")
	reject(withTLS, "hostssl")
	nobody, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name                     string
		port                     int
		password                 string
		disable, prefer, require postgres.Reason
	}{
		{"the server has no TLS", plain.Port, pgtest.Password, postgres.OK, postgres.OK, postgres.TLS},
		{"the server has TLS", secure.Port, pgtest.Password, postgres.OK, postgres.OK, postgres.OK},
		{"refused", nobody, "p", postgres.Refused, postgres.Refused, postgres.Refused},
		{"wrong password, without TLS", plain.Port, "wrong-secret", postgres.Auth, postgres.Auth, postgres.TLS},
		{"wrong password, with TLS", secure.Port, "wrong-secret", postgres.Auth, postgres.Auth, postgres.Auth},
		{"pg_hba.conf rejects those without TLS", noTLS.Port, pgtest.Password, postgres.PgHBA, postgres.OK, postgres.OK},
		{"pg_hba.conf rejects those with TLS", withTLS.Port, pgtest.Password, postgres.OK, postgres.OK, postgres.PgHBA},
		{"both rejected, one for its password", noTLS.Port, "wrong-secret", postgres.PgHBA, postgres.Auth, postgres.Auth},
		{"silent from the start", listen(t, silent), "p", postgres.Timeout, postgres.Timeout, postgres.Timeout},
		{"no TLS, then silent in the login", listen(t, refuseTLS(silent)), "p", postgres.Timeout, postgres.Timeout, postgres.TLS},
		{"no TLS, then cut in the login", listen(t, refuseTLS(cutOff)), "p", postgres.Refused, postgres.Refused, postgres.TLS},
		{"silent in the TLS handshake", listen(t, acceptTLS(silent)), "p", postgres.Timeout, postgres.Timeout, postgres.Timeout},
		{"silent in the login after TLS", listen(t, handshake(t, secure, silent)), "p", postgres.Timeout, postgres.Timeout, postgres.Timeout},
		{"another program", listen(t, http), "p", postgres.Protocol, postgres.Protocol, postgres.TLS},
		{"cut in the login after TLS", listen(t, handshake(t, secure, cutOff)), "p", postgres.Refused, postgres.Refused, postgres.Refused},
	} {
		for mode, want := range map[string]postgres.Reason{"disable": tc.disable, "prefer": tc.prefer, "require": tc.require} {
			t.Run(tc.name+", sslmode="+mode, func(t *testing.T) {
				t.Parallel()
				dsn := fmt.Sprintf("host=127.0.0.1 port=%d user=%s password=%s dbname=postgres sslmode=%s connect_timeout=1",
					tc.port, pgtest.Monitor, tc.password, mode)
				pgtest.Eventually(t, 10*time.Second, func() error { // a reload of pg_hba.conf takes a moment
					if got := login(t, dsn); got != want {
						return fmt.Errorf("reason = %s, want %s", got, want)
					}
					return nil
				})
			})
		}
	}
}

// listen runs a server of a few lines and returns its port. Each function gets what the client sends first already read.
func listen(t *testing.T, serve func(conn net.Conn, first []byte)) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				first := make([]byte, 4096)
				n, err := conn.Read(first)
				if err == nil {
					serve(conn, first[:n])
				}
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func silent(conn net.Conn, _ []byte) { _, _ = io.Copy(io.Discard, conn) }
func cutOff(net.Conn, []byte)        {}
func http(conn net.Conn, first []byte) {
	if asksForTLS(first) {
		_, _ = conn.Write([]byte("N"))
	} else {
		_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	}
}

// asksForTLS is whether a client's first message is SSLRequest.
func asksForTLS(first []byte) bool { return strings.HasSuffix(string(first), "\x04\xd2\x16\x2f") }

func refuseTLS(then func(net.Conn, []byte)) func(net.Conn, []byte) {
	return func(conn net.Conn, first []byte) {
		if asksForTLS(first) {
			_, _ = conn.Write([]byte("N"))
			return
		}
		then(conn, first)
	}
}

func acceptTLS(then func(net.Conn, []byte)) func(net.Conn, []byte) {
	return func(conn net.Conn, first []byte) {
		if asksForTLS(first) {
			_, _ = conn.Write([]byte("S"))
		}
		then(conn, first)
	}
}

func handshake(t *testing.T, c *pgtest.Cluster, then func(net.Conn, []byte)) func(net.Conn, []byte) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(c.DataDir()+"/server.crt", c.DataDir()+"/server.key")
	if err != nil {
		t.Fatal(err)
	}
	return acceptTLS(func(conn net.Conn, first []byte) {
		if !asksForTLS(first) {
			then(conn, first)
			return
		}
		secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}})
		buffer := make([]byte, 4096)
		if n, err := secure.Read(buffer); err == nil {
			then(secure, buffer[:n])
		}
	})
}
