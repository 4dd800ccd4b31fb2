package dsn

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/internal/smallfile"
)

// Config is the parameters as pgx takes them. What they leave out comes from the PG* variables, the password file and
// the service file, which pgx reads by itself. The error holds no value of theirs.
func (p Params) Config() (*pgx.ConnConfig, error) {
	given := maps.Clone(p)
	if given == nil {
		given = Params{}
	}
	if given["host"] == "" && given["hostaddr"] != "" {
		given["host"] = given["hostaddr"]
	}
	for _, k := range libpqOnly {
		delete(given, k)
	}
	for _, k := range []string{"passfile", "servicefile", "sslrootcert", "sslcert", "sslkey"} { // which pgx reads to their end
		if err := smallfile.Check(given.file(k)); err != nil {
			return nil, malformed("Name a file that has an end.", "%s: %s", k, err)
		}
	}
	cfg, err := pgx.ParseConfig(given.String())
	if err != nil {
		return nil, cmp.Or(unreadable(given), p.describe(err))
	}
	for _, k := range libpqOnly { // a service file's
		delete(cfg.RuntimeParams, k)
	}
	if cfg.RuntimeParams["options"] == "" {
		delete(cfg.RuntimeParams, "options")
	}
	return cfg, nil
}

// file is what a keyword names, or its variable.
func (p Params) file(keyword string) string {
	if name := p[keyword]; name != "" {
		return name
	}
	return os.Getenv(Variable(keyword)) //nolint:forbidigo // as pgx itself does
}

// unreadable names the file for TLS that can't be opened; nil where each can. What is opened has an end.
func unreadable(p Params) error {
	for _, k := range []string{"sslrootcert", "sslcert", "sslkey"} {
		name := p.file(k)
		if name == "" || name == "system" {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			return malformed("Name a file that is there and that this program's user may read.", "%s: %s", k, err)
		}
		_ = f.Close()
	}
	return nil
}

// Check refuses, as Parse does, what holds in the end wherever it comes from: a variable and a service file are written by the same
// people as a connection string. A database or a role that a server names needs no check: nobody typed it.
func Check(cfg *pgx.ConnConfig) error {
	hosts := []string{cfg.Host}
	for _, other := range cfg.Fallbacks {
		hosts = append(hosts, other.Host)
	}
	for _, is := range []struct{ keyword, value string }{
		{"host", strings.Join(hosts, ",")}, {"user", cfg.User}, {"dbname", cfg.Database}, {"application_name",
			cfg.RuntimeParams["application_name"]},
	} {
		if err := check(is.keyword, is.value); err != nil {
			return err
		}
	}
	return nil
}

// describe keeps of pgx's error what helps and drops the string, which it quotes.
func (p Params) describe(err error) error {
	what := err.Error()
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) {
		if cut := strings.LastIndex(what, "`: "); cut >= 0 {
			what = what[cut+len("`: "):]
		}
	}
	for _, secret := range []string{"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"} {
		if v := p[secret]; v != "" && strings.Contains(what, v) {
			what = "malformed"
		}
	}
	return &Malformed{What: strings.Join(strings.Fields(what), " "), Hint: fmt.Sprintf("%s %s.", hintForms, HintEscape)}
}
