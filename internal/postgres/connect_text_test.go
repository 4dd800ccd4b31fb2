package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// With the usual sslmode=prefer each address is tried twice. Who reads the failure wants the one cause.
func TestConnectFailureNamesItsCauseOnce(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{}) // without TLS
	nobody, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ dsn, want string }{
		"wrong password": {
			fmt.Sprintf("host=127.0.0.1 port=%d user=%s password=wrong dbname=postgres sslmode=prefer", c.Port, pgtest.Monitor),
			fmt.Sprintf("failed to connect to `user=%s database=postgres`: 127.0.0.1:%d (127.0.0.1): failed SASL auth: FATAL: password "+
				"authentication failed for user \"%s\" (SQLSTATE 28P01)",
				pgtest.Monitor, c.Port, pgtest.Monitor),
		},
		"nobody listens": {
			fmt.Sprintf("host=127.0.0.1 port=%d user=u dbname=d sslmode=prefer", nobody),
			fmt.Sprintf("failed to connect to `user=u database=d`: 127.0.0.1:%[1]d (127.0.0.1): dial error: dial tcp 127.0.0.1:%[1]d: connect: "+
				"connection refused", nobody),
		},
		"two hosts": {
			fmt.Sprintf("host=127.0.0.1,127.0.0.2 port=%[1]d,%[1]d user=u dbname=d sslmode=disable", nobody),
			fmt.Sprintf("failed to connect to `user=u database=d`: 127.0.0.1:%[1]d (127.0.0.1): dial error: dial tcp 127.0.0.1:%[1]d: connect: "+
				"connection refused; "+
				"127.0.0.2:%[1]d (127.0.0.2): dial error: dial tcp 127.0.0.2:%[1]d: connect: connection refused", nobody),
		},
		"TLS demanded": {
			fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=postgres sslmode=require", c.Port, pgtest.Monitor),
			fmt.Sprintf("failed to connect to `user=%s database=postgres`: 127.0.0.1:%d (127.0.0.1): tls error: server refused TLS connection",
				pgtest.Monitor, c.Port),
		},
	} {
		t.Run(name, func(t *testing.T) {
			connector, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: tc.dsn})
			if err != nil {
				t.Fatal(err)
			}
			_, err = connector.Connect(t.Context())
			if err == nil {
				t.Fatal("it connected")
			}
			if said, _, _ := strings.Cut(strings.TrimSpace(err.Error()), ". HINT: "); said != tc.want {
				t.Errorf("%v\nwant %s", err, tc.want)
			}
		})
	}
}
