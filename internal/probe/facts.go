package probe

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// querier is the part of a session that asks for facts.
type querier interface {
	Query(ctx context.Context, sql string) ([][]*string, error)
	Broken() bool
	Version() int
}

// fact is one column of the read probe's only query, for PostgreSQL 13 to 19.
type fact struct {
	// calls lists the functions that may have been revoked. A server checks that right for the whole
	// query before it runs, so that no CASE can guard a call.
	calls []string
	sql   string
	// without is the column where a function may not be called.
	without string
	set     func(s *Server, value string) error
}

// recovering stands in the FROM clause: a promotion between two calls would give a row that is half standby.
func recovering() fact {
	return fact{
		calls:   []string{"pg_is_in_recovery"},
		sql:     "(SELECT pg_catalog.pg_is_in_recovery() AS yes OFFSET 0) AS recovery",
		without: "(SELECT NULL::pg_catalog.bool AS yes) AS recovery",
	}
}

// facts are the columns. All come from shared memory and pg_control through functions: no relation, hence
// no lock that a user could hold.
func facts() []fact {
	const micros = "(extract(epoch FROM %s) * 1000000)::pg_catalog.int8"
	return []fact{
		{
			sql: "recovery.yes",
			set: func(s *Server, v string) error { s.Role = roleOf(v); return nil },
		},
		{
			calls: []string{"pg_postmaster_start_time"},
			sql:   fmt.Sprintf(micros, "pg_catalog.pg_postmaster_start_time()"),
			set:   func(s *Server, v string) (err error) { s.StartTime, err = parseMicros(v); return err },
		},
		{
			// NULL for a role without pg_monitor.
			calls: []string{"pg_stat_get_activity"},
			sql: "(SELECT " + fmt.Sprintf(micros, "min(a.backend_start)") +
				" FROM pg_catalog.pg_stat_get_activity(NULL) AS a WHERE a.backend_type = 'checkpointer')",
			set: func(s *Server, v string) (err error) { s.CheckpointerStart, err = parseMicros(v); return err },
		},
		{
			calls: []string{"pg_control_system"},
			sql:   "(SELECT c.system_identifier FROM pg_catalog.pg_control_system() AS c)",
			set:   func(s *Server, v string) error { s.SystemIdentifier = v; return nil },
		},
		{
			// The first 8 digits of a WAL file's name are the timeline that is written to.
			calls: []string{"pg_walfile_name", "pg_current_wal_lsn"},
			sql: "CASE WHEN NOT recovery.yes THEN " +
				"pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8) END",
			set: func(s *Server, v string) (err error) { s.Timeline, err = strconv.ParseInt(v, 16, 64); return err },
		},
		{
			// What is received may be on a newer timeline than the last restart point.
			calls: []string{"pg_control_checkpoint", "pg_stat_get_wal_receiver"},
			sql: "CASE WHEN recovery.yes THEN (SELECT greatest(c.timeline_id, w.received_tli)" +
				" FROM pg_catalog.pg_control_checkpoint() AS c, pg_catalog.pg_stat_get_wal_receiver() AS w) END",
			set: func(s *Server, v string) (err error) { s.Timeline, err = strconv.ParseInt(v, 10, 64); return err },
		},
		{
			calls: []string{"inet_server_addr", "inet_server_port"},
			sql:   "pg_catalog.host(pg_catalog.inet_server_addr()) || ' ' || pg_catalog.inet_server_port()",
			set:   setAddress,
		},
		{
			// 0 only while a receiver streams and all it received is replayed. With the link cut, nothing
			// tells how far behind the standby is but the age of the last transaction it saw; a link on which the primary
			// is silent for longer than it ever is counts as cut, before the receiver gives it up (collector replication does
			// the same). Without wal_receiver_timeout an idle primary is as silent as a frozen link, and the lag is unknown after
			// 20 s: a primary that writes has something to send each 15 s. So does a receiver whose status we may not see.
			calls: []string{
				"pg_stat_get_wal_receiver", "pg_last_wal_receive_lsn", "pg_last_wal_replay_lsn",
				"pg_last_xact_replay_timestamp", "current_setting",
			},
			sql: "CASE WHEN recovery.yes THEN (SELECT CASE" +
				" WHEN w.pid IS NOT NULL AND w.status IS NULL THEN NULL" +
				" WHEN w.status = 'streaming' AND pg_catalog.pg_last_wal_replay_lsn() >= pg_catalog.pg_last_wal_receive_lsn()" +
				" AND pg_catalog.clock_timestamp() - w.last_msg_receipt_time < coalesce(" +
				"nullif(pg_catalog.current_setting('wal_receiver_timeout')::pg_catalog.interval, '0'), '20 s') / 2 + '10 s' THEN 0" +
				" WHEN w.status = 'streaming' AND pg_catalog.pg_last_wal_replay_lsn() >= pg_catalog.pg_last_wal_receive_lsn()" +
				" AND pg_catalog.current_setting('wal_receiver_timeout')::pg_catalog.interval = '0' THEN NULL" +
				" ELSE " + fmt.Sprintf(micros, "pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp()") +
				" END FROM pg_catalog.pg_stat_get_wal_receiver() AS w) END",
			set: setReplayLag,
		},
		{
			// pg_monitor by its number, which is the same everywhere: a server that is not quite PostgreSQL may not have its name.
			calls: []string{"pg_has_role"},
			sql:   "pg_catalog.pg_has_role(3373::pg_catalog.oid, 'USAGE')",
			set:   setSight,
		},
		{
			calls: []string{"clock_timestamp"},
			sql:   fmt.Sprintf(micros, "pg_catalog.clock_timestamp()"),
			set:   func(s *Server, v string) (err error) { s.Clock, err = parseMicros(v); return err },
		},
	}
}

// plainSQL is all a server must be able to answer for the read probe to succeed.
const plainSQL = "SELECT 1"

// coreSQL leaves out what reads pg_control or the WAL's position: a file that can be met half written,
// and functions that servers which are not quite PostgreSQL lack.
func coreSQL(denied map[string]bool) string {
	without := maps.Clone(denied)
	for _, name := range factCalls() {
		switch name {
		case "pg_is_in_recovery", "pg_postmaster_start_time", "pg_stat_get_activity", "inet_server_addr", "inet_server_port",
			"pg_has_role", "clock_timestamp":
		default:
			without[name] = true
		}
	}
	return factsSQL(without)
}

// factsSQL leaves out the functions that may not be called.
func factsSQL(denied map[string]bool) string {
	column := func(f fact) string {
		if slices.ContainsFunc(f.calls, func(name string) bool { return denied[name] }) {
			return cmp.Or(f.without, "NULL")
		}
		return f.sql
	}
	var columns []string
	for _, f := range facts() {
		columns = append(columns, column(f))
	}
	return "SELECT " + strings.Join(columns, ",\n       ") + "\n  FROM " + column(recovering())
}

// rightsSQL lists the functions of facts that we may call.
func rightsSQL() string {
	return "SELECT DISTINCT p.proname FROM pg_catalog.pg_proc AS p" +
		" WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace" +
		" AND p.proname IN ('" + strings.Join(factCalls(), "', '") + "')" +
		" AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')"
}

func factCalls() []string {
	var names []string
	for _, f := range append(facts(), recovering()) {
		names = append(names, f.calls...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// interview asks one session for facts, and remembers which it may not ask for.
type interview struct {
	denied map[string]bool
	sql    string
}

func newInterview() *interview {
	return &interview{denied: map[string]bool{}, sql: factsSQL(nil)}
}

// ask is the read probe: one round trip. Where a fact can't be had the probe goes on without it, because
// a server that answers is up.
func (i *interview) ask(ctx context.Context, s querier) (Server, error) {
	rows, err := s.Query(ctx, i.sql)
	return i.conclude(ctx, s, rows, err)
}

// conclude reads the answer, and asks for less where there is none.
func (i *interview) conclude(ctx context.Context, s querier, rows [][]*string, err error) (Server, error) {
	server := Server{Version: s.Version(), ReplayLag: UnknownLag}
	if err != nil && postgres.ReasonOf(err) == postgres.Permission && !hopeless(ctx, s, err) {
		if err := i.askRights(ctx, s); err != nil {
			return server, err
		}
		rows, err = s.Query(ctx, i.sql)
	}
	if err != nil && !hopeless(ctx, s, err) {
		rows, err = s.Query(ctx, coreSQL(i.denied))
	}
	if err != nil && !hopeless(ctx, s, err) {
		_, err = s.Query(ctx, plainSQL)
		return server, err
	}
	if err != nil {
		return server, err
	}
	return server, server.fill(rows)
}

// hopeless says that asking again is of no use: the connection is gone, or there is no time left.
func hopeless(ctx context.Context, s querier, err error) bool {
	return s.Broken() || ctx.Err() != nil || postgres.ReasonOf(err) == postgres.Timeout
}

// askRights rewrites the query for what the role may do.
func (i *interview) askRights(ctx context.Context, s querier) error {
	rows, err := s.Query(ctx, rightsSQL())
	if err != nil && hopeless(ctx, s, err) {
		return err
	}
	for _, name := range factCalls() {
		i.denied[name] = true
	}
	for _, row := range rows {
		if len(row) > 0 && row[0] != nil { // a server may answer with no column at all
			delete(i.denied, *row[0])
		}
	}
	i.sql = factsSQL(i.denied)
	return nil
}

func (s *Server) fill(rows [][]*string) error {
	columns := facts()
	if len(rows) != 1 || len(rows[0]) != len(columns) {
		return fmt.Errorf("the read probe's query gave %d rows, not one of %d columns", len(rows), len(columns))
	}
	for i, value := range rows[0] {
		if value == nil {
			continue
		}
		if err := columns[i].set(s, *value); err != nil {
			return fmt.Errorf("read column %d of the read probe's query: %w", i+1, err)
		}
	}
	return nil
}

func roleOf(recovering string) Role {
	if recovering == "t" || recovering == "true" {
		return Standby
	}
	return Primary
}

// mostMicros is the last second that a time of four digits for its year has.
const mostMicros = 253402300799 * 1e6

// parseMicros reads a time after 1970. Any other is no server's, and unknown; nothing that keeps or tells times could hold it.
func parseMicros(v string) (time.Time, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 || n > mostMicros {
		return time.Time{}, err
	}
	return time.UnixMicro(n).UTC(), nil
}

func setAddress(s *Server, v string) error {
	host, port, _ := strings.Cut(v, " ")
	s.Address = net.JoinHostPort(host, port)
	return nil
}

func setSight(s *Server, v string) error {
	s.Sight = PartialSight
	if v == "t" || v == "true" {
		s.Sight = FullSight
	}
	return nil
}

func setReplayLag(s *Server, v string) error {
	n, err := strconv.ParseInt(v, 10, 64)
	s.ReplayLag = time.Duration(min(max(0, n), math.MaxInt64/1000)) * time.Microsecond // the primary's clock may be ahead
	return err
}
