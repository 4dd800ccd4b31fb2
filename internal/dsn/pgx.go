package dsn

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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
	cfg, err := pgx.ParseConfig(given.String())
	if err != nil {
		return nil, p.describe(err)
	}
	for _, k := range libpqOnly { // a service file's
		delete(cfg.RuntimeParams, k)
	}
	if cfg.RuntimeParams["options"] == "" {
		delete(cfg.RuntimeParams, "options")
	}
	return cfg, nil
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
