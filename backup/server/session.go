package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// noted is a discovery that all copies of a target share.
type noted struct{ atomic.Bool }

func (n *noted) is() bool { return n != nil && n.Load() }

// setting of PostgreSQL's, with the oldest major version that has it.
type setting struct {
	name, value string
	since       int
}

// settings are what every session of ours and of the client programs has from its start, whatever the server, a database
// or a role says: a database's owner must not choose which operators and functions our statements call, and nothing
// that is set for other people's sessions may end ours, or change what it reads.
func settings() []setting {
	return []setting{
		{"search_path", "pg_catalog", 0},
		{"statement_timeout", "0", 0},
		{"lock_timeout", "0", 0},
		{"idle_in_transaction_session_timeout", "0", 0},
		{"idle_session_timeout", "0", 14},
		{"transaction_timeout", "0", 17},
		// target_session_attrs=read-write asks for this at the login. ReadOnly sessions are made so behind it.
		{"default_transaction_read_only", "off", 0},
		{"default_transaction_deferrable", "off", 0},
		{"default_transaction_isolation", "read committed", 0},
		{"row_security", "off", 0}, // a policy is an error, never fewer rows
		{"quote_all_identifiers", "off", 0},
		{"standard_conforming_strings", "on", 0},
		{"backslash_quote", "safe_encoding", 0},
		{"transform_null_equals", "off", 0},
		{"array_nulls", "on", 0},
		{"DateStyle", "ISO", 0},
		{"IntervalStyle", "postgres", 0},
		{"TimeZone", "UTC", 0},
		{"bytea_output", "hex", 0},
		{"xmloption", "content", 0},
		{"extra_float_digits", "1", 0},
		{"jit", "off", 0},                  // compiling takes longer than a catalogue query
		{"constraint_exclusion", "off", 0}, // nothing of a table's conditions is computed to plan a query
		{"default_tablespace", "", 0},      // as PostgreSQL's own
		{"temp_tablespaces", "", 0},
	}
}

// open logs in with our settings. What is between us and the server (PgBouncer) may know none of them: then the login is
// made without, and they are set by a statement.
func (t Target) open(ctx context.Context, cfg *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, err := t.login(ctx, cfg, !t.pooler.is())
	var pg *pgconn.PgError
	if errors.As(err, &pg) && strings.Contains(pg.Message, "unsupported startup parameter") && !t.pooler.is() {
		if t.pooler != nil {
			t.pooler.Store(true)
		}
		conn, err = t.login(ctx, cfg, false)
	}
	if err == nil {
		return conn, nil
	}
	reason := failure.Of(err)
	if reason == failure.Other || ctx.Err() == nil && reason == failure.Timeout {
		reason = failure.Connection
	}
	return nil, &failure.Error{Reason: reason, Err: fmt.Errorf("connect to the server: %s", t.mask(postgres.ConnectText(err)))}
}

func (t Target) login(ctx context.Context, cfg *pgx.ConnConfig, atStart bool) (*pgx.Conn, error) {
	cfg = cfg.Copy()
	for _, s := range settings() {
		delete(cfg.RuntimeParams, s.name)
		if atStart && s.since == 0 {
			cfg.RuntimeParams[s.name] = s.value
		}
	}
	delete(cfg.RuntimeParams, "client_encoding")
	if atStart {
		cfg.RuntimeParams["client_encoding"] = "UTF8"
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := t.afterLogin(ctx, conn, atStart); err != nil {
		return nil, errors.Join(fmt.Errorf("set up the session: %w", err), conn.Close(context.WithoutCancel(ctx)))
	}
	return conn, nil
}

// afterLogin sets, in one round trip, what an older server would refuse at the login and what the login must not see.
func (t Target) afterLogin(ctx context.Context, conn *pgx.Conn, atStart bool) error {
	var calls []string
	set := func(name, value string) {
		calls = append(calls, "pg_catalog.set_config("+Literal(name)+", "+Literal(value)+", false)")
	}
	major, _, _ := strings.Cut(conn.PgConn().ParameterStatus("server_version"), ".")
	version, _ := strconv.Atoi(strings.TrimRight(major, "abcdefghijklmnopqrstuvwxyz")) // "19beta1"; unknown is the oldest
	if !atStart {
		set("client_encoding", "UTF8")
	}
	for _, s := range settings() {
		if s.since > 0 && version >= s.since || s.since == 0 && !atStart {
			set(s.name, s.value)
		}
	}
	if t.readOnly {
		set("default_transaction_read_only", "on")
	}
	// Names in such a database are bytes of no encoding: as UTF8 the server would refuse to send them.
	switch conn.PgConn().ParameterStatus("server_encoding") {
	case "SQL_ASCII", "MULE_INTERNAL":
		set("client_encoding", "SQL_ASCII")
	}
	if len(calls) == 0 {
		return nil
	}
	_, err := conn.PgConn().ExecParams(ctx, "SELECT "+strings.Join(calls, ", "), nil, nil, nil, nil).Close()
	return err
}
