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

// What nobody means to be a part of a password or a role's name is said, and never the password.
func TestOddPasswords(t *testing.T) {
	for name, tc := range map[string]struct{ role, password, says string }{
		"nothing odd":       {"mon", "hunter2", ""},
		"a space within":    {"mon", "hunter2 and more", ""},
		"one quote":         {"mon", `"hunter2`, ""},
		"an equals sign":    {"mon", "hunter2=", ""},
		"role with a space": {"mon ", "hunter2", "ends with a space: look at DATA_SOURCE_USER"},
		"trailing space":    {"mon", "hunter2 ", "begins or ends with a space"},
		"two lines":         {"mon", "mon\nhunter2", "has several lines"},
		"byte order mark":   {"mon", "\ufeffhunter2", "byte order mark"},
		"double quotes":     {"mon", `"hunter2"`, "is in quotes"},
		"single quotes":     {"mon", "'hunter2'", "is in quotes"},
		"an assignment":     {"mon", "POSTGRES_PASSWORD=hunter2", "begins with a name"},
		"YAML":              {"mon", "password: hunter2", "begins with a name"},
	} {
		t.Run(name, func(t *testing.T) {
			got := odd(tc.role, tc.password)
			if (got == "") != (tc.says == "") || !strings.Contains(got, tc.says) || strings.Contains(got, "hunter2") {
				t.Errorf("%q, want %q in it", got, tc.says)
			}
			if remedy := (Given{Odd: got}).authRemedy(); got != "" && remedy != "HINT: "+got {
				t.Errorf("the remedy is %q", remedy)
			}
		})
	}
}
