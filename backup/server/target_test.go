package server

import (
	"slices"
	"strings"
	"testing"
)

func TestParseReachesBothPgxAndThePrograms(t *testing.T) {
	for name, tc := range map[string]struct {
		dsn  string
		env  []string
		want string   // String()
		has  []string // of Environ
	}{
		"url":             {"postgres://u:p%40ss'w@h:5433/db?sslmode=disable", nil, "u@h:5433/db", []string{"PGPASSWORD=p@ss'w", "PGSSLMODE=disable", "PGPORT=5433"}},
		"socket in a url": {"postgres:///db?host=/run/postgresql&user=u", nil, "u@/run/postgresql:5432/db", []string{"PGHOST=/run/postgresql"}},
		"keywords":        {`host=h user=u dbname='d b' password='it\'s \\ x'`, nil, "u@h:5432/d b", []string{`PGPASSWORD=it's \ x`}},
		"variables":       {"", []string{"PGHOST=h", "PGUSER=u", "PGPASSWORD=p", "PGDATABASE=d"}, "u@h:5432/d", []string{"PGPASSWORD=p"}},
		"string wins":     {"host=h2", []string{"PGHOST=h", "PGUSER=u", "PGDATABASE=d"}, "u@h2:5432/d", nil},
		"libpq's own":     {"host=h user=u dbname=d keepalives_idle=7 gssencmode=disable", nil, "u@h:5432/d", []string{"PGGSSENCMODE=disable"}},
		"ipv6":            {"postgres://u@[::1]:5433/d", nil, "u@::1:5433/d", []string{"PGHOST=::1"}},
	} {
		t.Run(name, func(t *testing.T) {
			target, err := Parse(tc.dsn, tc.env)
			if err != nil {
				t.Fatal(err)
			}
			if target.String() != tc.want {
				t.Errorf("target %s, want %s", target, tc.want)
			}
			env := target.Environ()
			for _, want := range tc.has {
				if !slices.Contains(env, want) {
					t.Errorf("the environment lacks %s", want)
				}
			}
			if arg := target.Arg("x y"); strings.Contains(arg, "p@ss") || strings.Contains(arg, "password") || !strings.Contains(arg, "dbname='x y'") {
				t.Errorf("command line: %s", arg)
			}
		})
	}
}

func TestParseErrorsHoldNoSecret(t *testing.T) {
	for _, dsn := range []string{
		"postgres://u:s3cret@h:port/d", "postgres://u:s3cret@h%zz/d", "host=h password='s3cret", "password=s3cret host", "postgres://u:s3cret@h/d?sslmode=never",
		"host=h password=s3cret sslmode=never", "host=h password=s3cret port=s3cret",
	} {
		_, err := Parse(dsn, nil)
		if err == nil {
			t.Errorf("%s is accepted", dsn)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("a secret is in %v", err)
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
}
