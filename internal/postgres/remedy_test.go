package postgres

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Where no server answers, a beginner has named the wrong address: the error says what to compare it with.
func TestRemediesWhereNobodyAnswers(t *testing.T) {
	for name, tc := range map[string]struct{ dsn, says string }{
		"nobody listens":     {"host=127.0.0.1 port=1", "listen_addresses"},
		"no socket":          {"host=" + filepath.Join(t.TempDir(), "postgresql"), "unix_socket_directories"},
		"a port in the host": {"host=localhost:5432", "PGPORT=port"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := pgx.ParseConfig(tc.dsn + " user=u database=d sslmode=disable")
			if err != nil {
				t.Fatal(err)
			}
			// As Go's resolver reports it, wherever this runs.
			cfg.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
				if strings.Contains(host, ":") {
					return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
				}
				return net.DefaultResolver.LookupHost(ctx, host)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err = pgx.ConnectConfig(ctx, cfg)
			var said *Failure
			if err = connectError(err, Given{}); !errors.As(err, &said) || !strings.Contains(err.Error(), "HINT: ") ||
				!strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v does not say %q", err, tc.says)
			}
		})
	}
}
