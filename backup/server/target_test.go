package server

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
)

// environProgram writes what a program called pg_dump is given, one NAME=value or argument a line, the files' contents too.
func environProgram(t *testing.T) (clients.Programs, func() []string) {
	t.Helper()
	dir := t.TempDir()
	script := `#!/bin/sh
{ env | grep -v '^_='; for a; do echo "arg $a"; done; } > ` + dir + `/got
for v in PGPASSFILE PGSERVICEFILE; do
  eval "f=\$$v"; [ -z "$f" ] || { stat -L -c "$v mode %a" $f; sed "s/^/$v: /" $f; }
done >> ` + dir + `/got
`
	if err := os.WriteFile(filepath.Join(dir, "pg_dump"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return clients.Programs{Dir: dir, Major: 15}, func() []string {
		b, err := os.ReadFile(filepath.Join(dir, "got"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
}

func TestParseReachesBothPgxAndThePrograms(t *testing.T) {
	services := filepath.Join(t.TempDir(), "services")
	if err := os.WriteFile(services, []byte("[db]\nhost=hs\nport=6\nsslpassword=from the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		dsn  string
		env  []string
		want string   // String()
		has  []string // lines of environProgram
	}{
		"url": {"postgres://u:p%40ss'w@h:5433/db?sslmode=disable", nil, "u@h:5433/db",
			[]string{`PGPASSFILE: *:*:*:*:p@ss'w`, "PGPASSFILE mode 600", "PGSSLMODE=disable", "PGPORT=5433"}},
		"socket in a url": {"postgres:///db?host=/run/postgresql&user=u", nil, "u@/run/postgresql:5432/db", []string{"PGHOST=/run/postgresql"}},
		"keywords": {`host=h user=u dbname='d b' password='it\'s \\ x:y'`, nil, "u@h:5432/d b",
			[]string{`PGPASSFILE: *:*:*:*:it's \\ x\:y`}},
		"variables": {"", []string{"PGHOST=h", "PGUSER=u", "PGPASSWORD=p7", "PGDATABASE=d"}, "u@h:5432/d",
			[]string{"PGPASSFILE: *:*:*:*:p7"}},
		"string wins": {"host=h2", []string{"PGHOST=h", "PGUSER=u", "PGDATABASE=d"}, "u@h2:5432/d", nil},
		"libpq's own": {"host=h user=u dbname=d keepalives_idle=7 gssencmode=disable", nil, "u@h:5432/d",
			[]string{"PGGSSENCMODE=disable", "PGSERVICEFILE: keepalives_idle=7", "PGSERVICE=target"}},
		"ipv6": {"postgres://u@[::1]:5433/d", nil, "u@::1:5433/d", []string{"PGHOST=::1"}},
		"a service": {"service=db user=u dbname=d port=7", []string{"PGSERVICEFILE=" + services, "PGPORT=5"}, "u@hs:7/d",
			[]string{"PGHOST=hs", "PGPORT=7", "PGSERVICEFILE: sslpassword=from the file"}},
		"PostgreSQL 18's": {"host=h user=u dbname=d oauth_client_secret=s3cret oauth_client_id=i scram_client_key=s3cretkey " +
			"sslpassword=s3cretphrase", nil, "u@h:5432/d", []string{"PGSERVICEFILE: oauth_client_secret=s3cret",
			"PGSERVICEFILE: scram_client_key=s3cretkey", "PGSERVICEFILE: sslpassword=s3cretphrase", "PGSERVICEFILE mode 600"}},
		"own options": {"host=h user=u dbname=d options='-c work_mem=5MB -c statement_timeout=7'", nil, "u@h:5432/d",
			[]string{"PGOPTIONS=-c work_mem=5MB -c statement_timeout=7" + options(Child{Programs: clients.Programs{Major: 15}}, "u")}},
		"a line break": {"host=h user=u dbname=d password='two\nlines'", nil, "u@h:5432/d", []string{"PGPASSWORD=two", "lines"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AWS_SECRET_ACCESS_KEY", "the bucket's")
			t.Setenv("DATA_SOURCE_NAME", "postgres://another")
			t.Setenv("PGPASSWORD", "another's")
			t.Setenv("PGSSLCRL", "another's")
			target, err := Parse(tc.dsn, tc.env)
			if err != nil {
				t.Fatal(err)
			}
			if target.String() != tc.want {
				t.Errorf("target %s, want %s", target, tc.want)
			}
			programs, got := environProgram(t)
			if err := target.Run(t.Context(), Child{Programs: programs, Name: "pg_dump", Database: "x y", Args: []string{"--more"}}); err != nil {
				t.Fatal(err)
			}
			lines := map[string]bool{}
			for _, line := range got() {
				lines[line] = true
				if strings.HasPrefix(line, "arg ") && (strings.Contains(line, "p@ss") || strings.Contains(line, "secret") ||
					strings.Contains(line, "password=")) {
					t.Errorf("a secret stands in the arguments: %s", line)
				}
			}
			for _, want := range append(tc.has, "arg --dbname=dbname='x y'", "arg --more", "arg --no-password", "LC_ALL=C") {
				if !lines[want] {
					t.Errorf("the program lacks %q, it has:\n%s", want, strings.Join(got(), "\n"))
				}
			}
			for line := range maps.Keys(lines) {
				for _, not := range []string{"AWS_", "DATA_SOURCE", "another"} {
					if strings.Contains(line, not) {
						t.Errorf("the program has %s", line)
					}
				}
			}
		})
	}
}

func TestWhatNoFileCanHoldIsRefused(t *testing.T) {
	target, err := Parse("host=h user=u sslpassword='s3cret '", nil)
	if err != nil {
		t.Fatal(err)
	}
	programs, _ := environProgram(t)
	err = target.Run(t.Context(), Child{Programs: programs, Name: "pg_dump"})
	if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "sslpassword") {
		t.Error(err)
	}
}

func TestParseErrorsHoldNoSecret(t *testing.T) {
	for _, dsn := range []string{
		"postgres://u:s3cret@h:port/d", "postgres://u:s3cret@h%zz/d", "host=h password='s3cret", "password=s3cret host",
		"postgres://u:s3cret@h/d?sslmode=never",
		"host=h password=s3cret sslmode=never", "host=h password=s3cret port=s3cret", "Postgres://u:s3cret@h/d", "host=h pasword=s3cret",
		"host=h service=x servicefile=/nonexistent password=s3cret",
	} {
		_, err := Parse(dsn, nil)
		if err == nil {
			t.Errorf("%s is accepted", dsn)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("a secret is in %v", err)
		}
	}
	for _, variable := range []string{"PGHOST=h;password=s3cret", "PGUSER=u:s3cret", "PGDATABASE=postgres://u:s3cret@h/d"} {
		if _, err := Parse("", []string{variable}); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", variable, err)
		}
	}
}

func TestQuoting(t *testing.T) {
	if got := Literal(`it's \ here`); got != ` E'it''s \\ here'` {
		t.Error(got)
	}
	if got := Quote(`a"b`, "c.d"); got != `"a""b"."c.d"` {
		t.Error(got)
	}
	if got := Quote(Text("caf\xe9")) + Literal(Text("\xe9")); got != "\"caf\xe9\"'\xe9'" {
		t.Errorf("%q", got)
	}
}
