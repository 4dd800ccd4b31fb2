// Package server is how the backup job talks to a PostgreSQL server: one connection string for pgx and
// for the client programs, the facts that go into a manifest, and the lock that keeps jobs apart.
package server

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// Target is a server and how to log in, as libpq's keywords. Its zero value is what the PG*
// variables in Environ say.
type Target struct {
	params map[string]string
}

// ApplicationName of all the job's sessions, unless the connection string has another.
const ApplicationName = "pg_reliability_backup"

// variable maps libpq's keywords to the variables its programs read.
var variable = map[string]string{
	"host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER",
	"password": "PGPASSWORD", "passfile": "PGPASSFILE", "service": "PGSERVICE", "servicefile": "PGSERVICEFILE", "options": "PGOPTIONS",
	"application_name": "PGAPPNAME", "sslmode": "PGSSLMODE", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY",
	"sslrootcert": "PGSSLROOTCERT", "sslcrl": "PGSSLCRL", "sslcrldir": "PGSSLCRLDIR", "sslsni": "PGSSLSNI",
	"sslcompression": "PGSSLCOMPRESSION", "requirepeer": "PGREQUIREPEER", "sslnegotiation": "PGSSLNEGOTIATION",
	"ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION", "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
	"channel_binding": "PGCHANNELBINDING", "gssencmode": "PGGSSENCMODE", "krbsrvname": "PGKRBSRVNAME",
	"connect_timeout": "PGCONNECT_TIMEOUT", "client_encoding": "PGCLIENTENCODING",
	"target_session_attrs": "PGTARGETSESSIONATTRS", "require_auth": "PGREQUIREAUTH",
}

// libpqOnly are keywords pgx would send to the server as settings.
var libpqOnly = []string{
	"hostaddr", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
	"sslcompression", "sslcrl", "sslcrldir", "requirepeer", "gssencmode", "load_balance_hosts", "require_auth",
	"fallback_application_name", "sslcertmode",
}

// Parse reads a URL or a keyword/value string. Variables are the PG* variables of the process, as
// os.Environ gives them; they fill in what the string leaves out. The error never holds the string.
func Parse(dsn string, environ []string) (Target, error) {
	t := Target{params: map[string]string{}}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		for keyword, v := range variable {
			if v == name && value != "" {
				t.params[keyword] = value
			}
		}
	}
	var given map[string]string
	var err error
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		given, err = parseURL(dsn)
	} else {
		given, err = parseKeywords(dsn)
	}
	if err != nil {
		return Target{}, failure.New(failure.Config, "connection string: %w", err).
			WithHint("Write postgres://user@host:5432/database or host=... user=... dbname=...; a password with special characters is percent-encoded in the first form and quoted in the second.")
	}
	maps.Copy(t.params, given)
	if t.params["application_name"] == "" {
		t.params["application_name"] = ApplicationName
	}
	if t.params["connect_timeout"] == "" {
		t.params["connect_timeout"] = "15"
	}
	if _, err := t.Config(""); err != nil {
		return Target{}, err
	}
	return t, nil
}

func parseURL(dsn string) (map[string]string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, fmt.Errorf("it is not a valid URL") // url's error quotes the string, password and all
	}
	p := map[string]string{}
	if u.User != nil {
		p["user"] = u.User.Username()
		if pw, ok := u.User.Password(); ok {
			p["password"] = pw
		}
	}
	var hosts, ports []string
	for _, hp := range strings.Split(u.Host, ",") {
		host, port := hp, ""
		if i := strings.LastIndexByte(hp, ':'); i > strings.LastIndexByte(hp, ']') {
			host, port = hp[:i], hp[i+1:]
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if host, err = url.PathUnescape(host); err != nil {
			return nil, fmt.Errorf("its host is not valid")
		}
		hosts, ports = append(hosts, host), append(ports, port)
	}
	if s := strings.Join(hosts, ","); s != "" {
		p["host"] = s
	}
	if s := strings.Join(ports, ","); strings.Trim(s, ",") != "" {
		p["port"] = s
	}
	if db := strings.TrimPrefix(u.Path, "/"); db != "" {
		p["dbname"] = db
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("its parameters are not valid")
	}
	for k, v := range query {
		if k == "ssl" && v[len(v)-1] == "true" {
			k, v = "sslmode", []string{"require"}
		}
		p[k] = v[len(v)-1]
	}
	return p, nil
}

// parseKeywords reads libpq's keyword/value form: values may be quoted with ' and escaped with \.
func parseKeywords(s string) (map[string]string, error) {
	p := map[string]string{}
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		keyword, rest, ok := strings.Cut(s, "=")
		keyword = strings.TrimSpace(keyword)
		if !ok || keyword == "" || strings.ContainsAny(keyword, " \t\n'\\") {
			return nil, fmt.Errorf("it has a keyword without =")
		}
		rest = strings.TrimLeft(rest, " \t\n")
		var value strings.Builder
		quoted := strings.HasPrefix(rest, "'")
		i, closed := 0, !quoted
		if quoted {
			i = 1
		}
		for ; i < len(rest); i++ {
			c := rest[i]
			if c == '\\' && i+1 < len(rest) {
				i++
				value.WriteByte(rest[i])
				continue
			}
			if quoted && c == '\'' {
				closed = true
				i++
				break
			}
			if !quoted && strings.IndexByte(" \t\n\r", c) >= 0 {
				break
			}
			value.WriteByte(c)
		}
		if !closed {
			return nil, fmt.Errorf("the value of %s has no closing quote", keyword)
		}
		p[keyword], s = value.String(), rest[i:]
	}
	return p, nil
}

// Config is the target for pgx, for a database; "" is the connection string's own.
func (t Target) Config(database string) (*pgx.ConnConfig, error) {
	p := maps.Clone(t.params)
	if p == nil {
		p = map[string]string{}
	}
	if database != "" {
		p["dbname"] = database
	}
	if p["host"] == "" && p["hostaddr"] != "" {
		p["host"] = p["hostaddr"]
	}
	for _, k := range libpqOnly {
		delete(p, k)
	}
	cfg, err := pgx.ParseConfig(keywords(p))
	if err != nil {
		return nil, failure.New(failure.Config, "connection string: %s", Mask(err.Error(), t.params["password"])).
			WithHint("Set DATA_SOURCE_NAME or the PG* variables.")
	}
	if cfg.RuntimeParams["options"] == "" {
		delete(cfg.RuntimeParams, "options")
	}
	return cfg, nil
}

// Connect opens a session in a database; "" is the connection string's own. An error is of a reason
// the server or the network gave.
func (t Target) Connect(ctx context.Context, database string) (*pgx.Conn, error) {
	cfg, err := t.Config(database)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		reason := failure.Of(err)
		if reason == failure.Other || ctx.Err() == nil && reason == failure.Timeout {
			reason = failure.Connection
		}
		return nil, &failure.Error{Reason: reason, Err: fmt.Errorf("connect to the server: %s", Mask(postgres.ConnectText(err), t.params["password"]))}
	}
	return conn, nil
}

// Environ is the environment that leads libpq's programs to the target: that of this process without
// its PG* variables, plus the target's. A password travels here, never on a command line.
func (t Target) Environ() []string {
	var env []string
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); !strings.HasPrefix(name, "PG") && name != "DATA_SOURCE_NAME" && !strings.HasPrefix(name, "LC_") && name != "LANGUAGE" && !strings.HasPrefix(name, "DATA_SOURCE_PASS") {
			env = append(env, kv)
		}
	}
	for k, v := range t.params {
		if name := variable[k]; name != "" {
			env = append(env, name+"="+v)
		}
	}
	slices.Sort(env)
	return append(env, "LC_ALL=C") // messages are read by people and by nothing else, in one language
}

// Arg is the connection string for a program's --dbname: the database and the keywords that have no variable.
func (t Target) Arg(database string) string {
	p := map[string]string{"dbname": database}
	for k, v := range t.params {
		if variable[k] == "" {
			p[k] = v
		}
	}
	return keywords(p)
}

// With returns a copy with a keyword set; an empty value removes it.
func (t Target) With(keyword, value string) Target {
	p := maps.Clone(t.params)
	if p == nil {
		p = map[string]string{}
	}
	if p[keyword] = value; value == "" {
		delete(p, keyword)
	}
	return Target{p}
}

// Database is the database the connection string names, else the user's own name, as libpq has it.
func (t Target) Database() string {
	cfg, err := t.Config("")
	if err != nil {
		return ""
	}
	if cfg.Database == "" {
		return cfg.User
	}
	return cfg.Database
}

// String names the target without a secret: user@host:port/database.
func (t Target) String() string {
	cfg, err := t.Config("")
	if err != nil {
		return "(unusable connection string)"
	}
	return fmt.Sprintf("%s@%s:%d/%s", cfg.User, cfg.Host, cfg.Port, t.Database())
}

func keywords(p map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(p)) {
		v := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(p[k])
		fmt.Fprintf(&b, "%s='%s' ", k, v)
	}
	return strings.TrimSpace(b.String())
}

// Mask hides a password wherever it stands in a text.
func Mask(text, password string) string {
	if len(password) < 2 {
		return text
	}
	return strings.ReplaceAll(text, password, "xxxxx")
}

// Quote quotes an identifier for SQL.
func Quote(names ...string) string { return pgx.Identifier(names).Sanitize() }

// Literal quotes a string for SQL, whatever standard_conforming_strings says.
func Literal(s string) string {
	q := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return " E" + strings.ReplaceAll(q, `\`, `\\`)
	}
	return q
}
