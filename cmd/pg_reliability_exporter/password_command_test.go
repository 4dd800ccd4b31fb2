package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// A password that lives short is fetched for each login; when the server changes it, no login fails.
func TestAPasswordCommandServesLoginsOfAServerAndOfAFleet(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	dir := t.TempDir()
	token, runs, program := filepath.Join(dir, "token"), filepath.Join(dir, "runs"), filepath.Join(dir, "password")
	write := func(file, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write(token, pgtest.Password+"\nmore\n", 0o600)
	good := fmt.Sprintf("#!/bin/sh\necho \"$PGUSER@$PGHOST:$PGPORT/$PGDATABASE $PGPASSWORD $DATA_SOURCE_NAME $*\" >> %s\ncat %s\n", runs,
		token)
	// At first the program prints nothing on the stream that counts. It is named, and what it printed is not.
	write(program, "#!/bin/sh\necho hunter2 >&2\n", 0o755)
	fleet := filepath.Join(dir, "fleet.yml")
	write(fleet, fmt.Sprintf("auth_modules:\n  short: {user: %s, password_command: %s of the fleet, sslmode: disable}\n"+
		"targets:\n  - {name: one, address: '127.0.0.1:%d/postgres', auth_module: short}\n", pgtest.Monitor, program, c.Port), 0o600)
	t.Setenv("PGPASSWORD", "hunter2")
	t.Setenv("DATA_SOURCE_NAME", "hunter2")
	dsn := fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=postgres sslmode=disable password=wrong", c.Port, pgtest.Monitor)
	r := launch(t, dsn, "--password.command="+program+` 'of $PGUSER'`, "--config.file="+fleet, "--probe.interval=200ms",
		"--probe.login-interval=1s")
	pgtest.Eventually(t, 20*time.Second, func() error {
		if !strings.Contains(r.logs.String(), "the password command printed no password. HINT: ") {
			return errors.New("the log does not name the command")
		}
		return r.reason(t, "auth")
	})
	write(program, good, 0o755)
	up := func() error { return errors.Join(r.scrape(t).state(1, "ok"), r.probe(t, "target=one").state(1, "ok")) }
	pgtest.Eventually(t, 20*time.Second, up)
	b, err := os.ReadFile(runs)
	for _, want := range []string{"of $PGUSER", "of the fleet"} {
		if want = fmt.Sprintf("%s@127.0.0.1:%d/postgres   %s\n", pgtest.Monitor, c.Port, want); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("no %q in %q, %v", want, b, err)
		}
	}
	// All sessions end and the old password is none any more, as soon as it is older than a moment.
	if err := c.Exec(t.Context(), "ALTER ROLE "+pgtest.Monitor+" PASSWORD 'another'"); err != nil {
		t.Fatal(err)
	}
	write(token, "another\n", 0o600)
	if err := c.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '"+pgtest.Monitor+"'"); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 20*time.Second, up)
	for _, secret := range []string{"hunter2", "another"} {
		if strings.Contains(r.logs.String(), secret) {
			t.Errorf("%s is in the log:\n%s", secret, r.logs)
		}
	}
}

func TestAPasswordCommandThatCanNotBeIsRefusedAtTheStart(t *testing.T) {
	for _, tc := range []struct{ args, variable, want string }{
		{"--password.command=/nowhere/password", "", "can't be run"},
		{"--password.command=sh", "DATA_SOURCE_PASS_FILE", "--password.command and DATA_SOURCE_PASS_FILE are both set. HINT: "},
	} {
		file := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		env := map[string]string{"DATA_SOURCE_URI": "127.0.0.1:1/postgres", "DATA_SOURCE_USER": "u"}
		if tc.variable != "" {
			env[tc.variable] = file
		}
		logs := &pgtest.Buffer{}
		code := run(t.Context(), []string{tc.args, "--state.dir=none"}, func(name string) (string, bool) { v, ok := env[name]; return v, ok },
			nil, logs, nil)
		if code != exitUsage || !strings.Contains(logs.String(), tc.want) {
			t.Errorf("%s: exit %d, %s", tc.args, code, logs)
		}
	}
}
