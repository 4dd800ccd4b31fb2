package server

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/internal/dsn"
)

// Child is one of PostgreSQL's client programs that works on a target.
type Child struct {
	Programs clients.Programs
	Name     string // "pg_dump"
	Args     []string
	// Database to connect to; "" is the connection string's own.
	Database string
	// Encoding is PGCLIENTENCODING; "" leaves it to the server.
	Encoding string
	// Script is true where a user's own SQL runs: with the server's settings, limits of time aside.
	Script bool
	// Loads is true where rows come back: what they may depend on is Settings, else the database's own, and not ours.
	Loads    bool
	Settings []catalog.Setting
	// Reads are the files that a program in a cage must be let read.
	Reads  []string
	Stdin  io.Reader
	Stdout io.Writer
	// Stderr, if not nil, gets what would be the end of the error's text.
	Stderr io.Writer
}

// Run starts the program and waits for its end, as clients.Run does. It logs in with the target's keywords and with the
// settings of our own sessions. Nothing secret stands in its arguments or its environment: it reads secrets from files
// that only it can open.
func (t Target) Run(ctx context.Context, c Child) error {
	p := t.childParams(c)
	args := append([]string{"--dbname=" + dsn.Params{"dbname": p["dbname"]}.String(), "--no-password"}, c.Args...)
	cmd := exec.Command(c.Programs.Path(c.Name), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	cmd.Env = clients.Environ()
	secrets := clients.NewSecrets(cmd)
	defer func() { _ = secrets.Close() }()
	if err := handOver(secrets, p, c.Programs.Major); err != nil {
		return err
	}
	slices.Sort(cmd.Env)
	if t.cage == nil {
		return clients.Run(ctx, cmd)
	}
	return clients.RunBy(ctx, cmd, t.cage.Reading(c.Reads...).Start)
}

// childParams are the target's keywords as a client program is to have them.
func (t Target) childParams(c Child) dsn.Params {
	p := dsn.Params{}
	for k, v := range t.params {
		if v != "" && k != "client_encoding" {
			p[k] = v
		}
	}
	if p["dbname"] = c.Database; c.Database == "" {
		p["dbname"] = t.Database()
	}
	p["dbname"] = Bytes(p["dbname"])
	if c.Encoding != "" {
		p["client_encoding"] = c.Encoding
	}
	if !t.noted.is() { // it would turn them down
		p["options"] = strings.TrimSpace(p["options"] + options(c, t.user()))
	}
	return p
}

// options are our settings as libpq's keyword options has them.
func options(c Child, user string) string {
	var b strings.Builder
	add := func(name, value string) {
		b.WriteString(" -c " + name + "=")
		for _, char := range []byte(value) { // as pg_split_opts in PostgreSQL's postinit.c reads it
			if char == '\\' || char <= ' ' {
				b.WriteByte('\\')
			}
			b.WriteByte(char)
		}
	}
	if user != "" && !c.Script {
		add(identity, user)
	}
	for _, s := range settings() {
		if s.since > c.Programs.Major || c.Script && !strings.HasSuffix(s.name, "_timeout") || c.Loads && s.ofRows() {
			continue
		}
		add(s.name, s.value)
	}
	for _, s := range c.Settings {
		add(s.Name, s.Value)
	}
	return b.String()
}

// passwordBytes is what PostgreSQL 13's programs read of a line in a password file.
const passwordBytes = 300

// handOver gives the program its keywords: by variables, and by files what is secret or has no variable.
func handOver(secrets *clients.Secrets, p dsn.Params, major int) error {
	service := ""
	for _, k := range slices.Sorted(maps.Keys(p)) {
		v := p[k]
		switch {
		case k == "dbname":
		case k == "password" && (strings.ContainsAny(v, "\r\n") || major < 14 && len(v) > passwordBytes):
			secrets.Variable("PGPASSWORD", v) // no line of a password file can hold it
		case k == "password":
			line := "*:*:*:*:" + strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(v) + "\n"
			if err := secrets.File("PGPASSFILE", line); err != nil {
				return fmt.Errorf("hand the password over: %w", err)
			}
		case k == "passfile" && p["password"] != "":
		case dsn.Variable(k) != "":
			secrets.Variable(dsn.Variable(k), v)
		case strings.ContainsAny(v, "\r\n") || strings.TrimSpace(v) != v || len(v) > 900:
			return failure.New(failure.Config, "the value of %s can't be handed to PostgreSQL's programs", k).
				WithHint("It is one line of less than 900 bytes, without a space at its ends.")
		default:
			service += k + "=" + v + "\n"
		}
	}
	if service == "" {
		return nil
	}
	secrets.Variable("PGSERVICE", "target")
	if err := secrets.File("PGSERVICEFILE", "[target]\n"+service); err != nil {
		return fmt.Errorf("hand the connection's keywords over: %w", err)
	}
	return nil
}
