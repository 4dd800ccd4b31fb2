package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// noted are discoveries that all copies of a target share; a nil one holds none.
type noted struct {
	turnedDown atomic.Bool
	version    atomic.Int32
}

// is says whether something before the server turned our settings down at a login.
func (n *noted) is() bool { return n != nil && n.turnedDown.Load() }

// major is the server's version as the last login told it; 0 before the first.
func (n *noted) major() int {
	if n == nil {
		return 0
	}
	return int(n.version.Load())
}

// setting of PostgreSQL's, with the oldest major version that has it.
type setting struct {
	name, value string
	since       int
}

// NonSystem is a setting that puts views or foreign tables out of a session's reach. It came with minor releases of all versions in 2024:
// who has it is asked.
const NonSystem = "restrict_nonsystem_relation_kind"

// settings are what every session of ours and of the client programs has from its start, whatever the server, a database
// or a role says: a database's owner must not choose which operators and functions our statements call, and nothing
// that is set for other people's sessions may end ours, or change what it reads.
func settings() []setting {
	return []setting{
		{"role", "none", 0},                // the owner of a database may make any session in it his own role's
		{"local_preload_libraries", "", 0}, // one that does not exist is the end of a login
		{"search_path", "pg_catalog", 0},
		{"statement_timeout", "0", 0},
		{"lock_timeout", "0", 0},
		{"idle_in_transaction_session_timeout", "0", 0},
		{"idle_session_timeout", "0", 14},
		{"transaction_timeout", "0", 17},
		{"client_connection_check_interval", "0", 14},
		{"tcp_user_timeout", "0", 0},
		{"exit_on_error", "off", 0},
		{"client_min_messages", "notice", 0},
		{"icu_validation_level", "warning", 16}, // a collation that was made comes back
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
		{"DateStyle", "ISO, MDY", 0},
		{"IntervalStyle", "postgres", 0},
		{"TimeZone", "UTC", 0},
		{"bytea_output", "hex", 0},
		{"xmloption", "content", 0},
		{"extra_float_digits", "1", 0},
		{"jit", "off", 0},                  // compiling takes longer than a catalogue query
		{"constraint_exclusion", "off", 0}, // nothing of a table's conditions is computed to plan a query
		{"default_tablespace", "", 0},      // as PostgreSQL's own
		{"temp_tablespaces", "", 0},
		{catalog.MoneySetting, "C", 0}, // an amount is the same text on every server
	}
}

// ofRows says whether rows may depend on a setting. Such ones are set by a statement behind the login, so that
// pg_settings.reset_val is what sessions of others in the database have.
func (s setting) ofRows() bool { return slices.Contains(catalog.RowSettings(), s.name) }

// RowSettings reads what the settings that rows may depend on are for other people's sessions in the session's database. What the
// session's own role has set for itself is left out: others don't have it.
func (t Target) RowSettings(ctx context.Context, conn *pgx.Conn) ([]catalog.Setting, error) {
	var all []catalog.Setting
	rows, err := conn.Query(ctx, `
		SELECT '', s.name, s.reset_val
		  FROM pg_catalog.pg_settings s
		 WHERE s.name = ANY ($1) AND s.name <> $2
		   AND NOT EXISTS (SELECT FROM pg_catalog.pg_db_role_setting r CROSS JOIN pg_catalog.unnest(r.setconfig) AS c
		                    WHERE r.setrole = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user)
		                      AND pg_catalog.lower(pg_catalog.split_part(c, '=', 1)) = pg_catalog.lower(s.name))
		 ORDER BY 2`, catalog.RowSettings(), catalog.MoneySetting)
	if err == nil {
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[catalog.Setting])
	}
	if err != nil {
		return nil, fmt.Errorf("read the settings that rows depend on: %w", err)
	}
	if !t.noted.is() { // else pg_dump has the database's
		all = append(all, catalog.Setting{Name: catalog.MoneySetting, Value: "C"})
	}
	Readable(&all)
	return all, nil
}

// open logs in with our settings. What is between us and the server (PgBouncer) may know none of them: then the login is
// made without, and they are set by a statement.
func (t Target) open(ctx context.Context, cfg *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, err := t.login(ctx, cfg, !t.noted.is(), t.noted.major())
	if retry, major := t.tryAgain(err); retry && ctx.Err() == nil {
		conn, err = t.login(ctx, cfg, !t.noted.is(), major)
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && strings.Contains(pg.Message, "unsupported startup parameter") && !t.noted.is() {
		if t.shared(ctx, cfg) {
			return nil, failure.New(failure.Config,
				"connect to the server: a pooler is before it that gives one session to several clients in turn").
				WithHint("Name the server itself, or a pool of PgBouncer with pool_mode = session: a snapshot, a lock and a setting hold in a session.")
		}
		if t.noted != nil {
			t.noted.turnedDown.Store(true)
		}
		conn, err = t.login(ctx, cfg, false, 0)
	}
	if err == nil {
		return conn, nil
	}
	var elsewhere *failure.Error
	if errors.As(err, &elsewhere) {
		return nil, fmt.Errorf("connect to the server: %w", elsewhere)
	}
	reason := failure.Of(err)
	if reason == failure.Other || reason == failure.Repository || ctx.Err() == nil && reason == failure.Timeout {
		reason = failure.Connection
	}
	text := t.mask(postgres.ConnectText(err))
	failed := &failure.Error{Reason: reason, Err: fmt.Errorf("connect to the server: %s", text)}
	if hint, has := strings.CutPrefix(postgres.Remedy(postgres.ReasonOf(err), text, postgres.GivenTo(&cfg.Config)), "HINT: "); has {
		failed.Hint = hint + "."
	}
	return nil, failed
}

// setUp is a login that succeeded and a session that ended before it had our settings.
type setUp struct {
	err   error
	major int // of the server; 0 is unknown
	knew  bool
}

func (e *setUp) Error() string { return "set up the session: " + e.err.Error() }
func (e *setUp) Unwrap() error { return e.err }

// tryAgain says whether a login that failed is worth another, and as which version of server: a limit of a millisecond for idle sessions,
// which only newer servers have, ends a first session before it is lifted; and a server may have been replaced by an older one.
func (t Target) tryAgain(err error) (again bool, major int) {
	var set *setUp
	if errors.As(err, &set) {
		return !set.knew && set.major > 0, set.major
	}
	var pg *pgconn.PgError
	const undefinedObject = "42704"
	return t.noted.major() > 0 && errors.As(err, &pg) && pg.Code == undefinedObject, 0
}

// login logs in with the settings that a server of the major version knows; 0 is unknown, and means those that all know.
func (t Target) login(ctx context.Context, cfg *pgx.ConnConfig, atStart bool, major int) (*pgx.Conn, error) {
	cfg = cfg.Copy()
	for _, s := range settings() {
		delete(cfg.RuntimeParams, s.name)
		if atStart && s.since <= major && !s.ofRows() {
			cfg.RuntimeParams[s.name] = s.value
		}
	}
	delete(cfg.RuntimeParams, "client_encoding")
	delete(cfg.RuntimeParams, identity)
	if atStart {
		cfg.RuntimeParams["client_encoding"] = "UTF8"
		cfg.RuntimeParams[identity] = cfg.User
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if atStart && notConverted(err) {
		cfg.RuntimeParams["client_encoding"] = "SQL_ASCII"
		conn, err = pgx.ConnectConfig(ctx, cfg)
	}
	if err != nil {
		return nil, err
	}
	version := majorOf(conn)
	if t.noted != nil {
		t.noted.version.Store(int32(version)) //nolint:gosec // a version of PostgreSQL
	}
	if err := t.afterLogin(ctx, cfg, conn, atStart, major, version); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, &setUp{err: err, major: version, knew: major > 0}
	}
	return conn, nil
}

// notConverted says whether a login failed because the database's encoding has no conversion to UTF8, as MULE_INTERNAL has none.
func notConverted(err error) bool {
	var pg *pgconn.PgError
	const notSupported = "0A000"
	return errors.As(err, &pg) && pg.Code == notSupported && strings.Contains(pg.Message, "UTF8")
}

// identity is the setting by which a session would be another user's than the one that logged in.
const identity = "session_authorization"

// majorOf is the server's major version, as it told it at the login; 0 is unknown.
func majorOf(conn *pgx.Conn) int {
	major, _, _ := strings.Cut(conn.PgConn().ParameterStatus("server_version"), ".")
	if end := strings.IndexFunc(major, func(c rune) bool { return c < '0' || c > '9' }); end >= 0 { // "19beta1"
		major = major[:end]
	}
	version, _ := strconv.Atoi(major)
	return version
}

// afterLogin sets, in one round trip, what an older server would refuse at the login, what the login must not see, and what rows depend on,
// and asks the session where it is.
func (t Target) afterLogin(ctx context.Context, cfg *pgx.ConnConfig, conn *pgx.Conn, atStart bool, known, version int) error {
	var calls []string
	set := func(name, value string) {
		calls = append(calls, "pg_catalog.set_config("+Literal(name)+", "+Literal(value)+", false)")
	}
	// Names in such a database are bytes of no encoding, or of one that is not converted: as UTF8 the server would refuse to send them.
	switch conn.PgConn().ParameterStatus("server_encoding") {
	case "SQL_ASCII", "MULE_INTERNAL":
		set("client_encoding", "SQL_ASCII")
	default:
		if !atStart {
			set("client_encoding", "UTF8")
		}
	}
	for _, s := range settings() {
		if s.since <= version && (s.since > known || !atStart || s.ofRows()) {
			set(s.name, s.value)
		}
	}
	if t.readOnly {
		set("default_transaction_read_only", "on")
	}
	calls = append(calls, "(SELECT pg_catalog.set_config(name, '', false) FROM pg_catalog.pg_settings WHERE name = "+Literal(NonSystem)+")")
	where, columns := len(calls), 1
	calls = append(calls, whereSQL)
	if t.one != nil {
		calls, columns = append(calls, whoSQL), 4
	}
	r := conn.PgConn().ExecParams(ctx, "SELECT "+strings.Join(calls, ", "), nil, nil, nil, nil).Read()
	if r.Err != nil {
		return r.Err
	}
	if len(r.Rows) != 1 || len(r.Rows[0]) != where+columns {
		return fmt.Errorf("the server does not say where the session is")
	}
	said := r.Rows[0][where:]
	if err := inDatabase(cfg, string(said[0])); err != nil || t.one == nil {
		return err
	}
	return t.one.met(string(said[1]), string(said[2]), string(said[3]))
}
