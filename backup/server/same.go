package server

import (
	"encoding/hex"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// What is between us and the server may lead elsewhere than the name says: a pool with an alias (live = dbname=other), a balancer
// before two servers, a session that a pool kept of a database that was renamed. Such a backup would hold another database's rows under
// the name of the one that was asked for, and would be verified all the same. So each session is asked where it is.
// (pg_dump imports a snapshot of ours, which no other database and no other server has.)

// whereSQL are the columns that say where a session is: the database's name in hex, as its bytes may be of any encoding. The
// second part is the server's identifier, the start of its process and its clock, in microseconds.
const (
	whereSQL = `pg_catalog.encode(pg_catalog.replace(pg_catalog.current_database()::text, E'\\', E'\\\\')::bytea, 'hex')`
	whoSQL   = `(SELECT system_identifier::text FROM pg_catalog.pg_control_system()), ` +
		`(pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint::text, ` +
		`(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000)::bigint::text`
)

// nameBytes is how much of a longer name PostgreSQL takes at a login.
const nameBytes = 63

// inDatabase refuses a session in another database than the one that was asked for.
func inDatabase(cfg *pgx.ConnConfig, gotHex string) error {
	want := cfg.Database
	if want == "" {
		want = cfg.User
	}
	got, err := hex.DecodeString(gotHex)
	if name := string(got); err != nil || name == want || name == want[:min(len(want), nameBytes)] {
		return err
	}
	return failure.New(failure.Config, "the session is in database %q, and %q was asked for", Text(string(got)), Text(want)).
		WithHint("What is before the server has an alias, or kept a session of a database that was renamed. Name the server itself, or a pool " +
			"whose databases have the names that they have on the server.")
}

// oneServer is what sessions of one run find of the server, the first of them first.
type oneServer struct {
	mu    sync.Mutex
	id    string
	start int64 // of the server's process, microseconds by its own clock
	seen  int64 // when that was asked
}

// OneServer is the target for one run or one restore: every session must be on the same server as the first. A balancer before two of
// them would have a backup made of both.
func (t Target) OneServer() Target {
	t.one = &oneServer{}
	return t
}

// met compares a session's server with that of the session before. Copies of a data directory and standbys have the same identifier, and
// are told by when they were started: one that was started anew since is the same.
func (o *oneServer) met(id, start, now string) error {
	began, err := strconv.ParseInt(start, 10, 64)
	if err != nil {
		return err
	}
	at, err := strconv.ParseInt(now, 10, 64)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.id != "" && (id != o.id || began != o.start && began < o.seen) {
		return failure.New(failure.Config, "the session is on another server than the one before (system identifier %s, before %s)", id, o.id).
			WithHint("A balancer or a name with several addresses leads to several servers. Name one of them.")
	}
	o.id, o.start, o.seen = id, began, at
	return nil
}
