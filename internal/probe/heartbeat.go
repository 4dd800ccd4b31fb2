package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// A table's owner can hang code on it (a trigger, a rule, a default, a check) that runs as whoever writes: as our role, with
// what pg_monitor sees of other people's sessions, and the right to change our password. So we write only to the table that
// deploy/sql/heartbeat.sql makes, looked at within the transaction that writes, under the lock that the write takes: no
// trigger, rule, policy, default or owner can change while it is held.
const (
	heartbeatBegin = "BEGIN"
	heartbeatLock  = "LOCK TABLE reliability.heartbeat IN ROW EXCLUSIVE MODE"
	// heartbeatCheck names what is not as heartbeat.sql made it, one row for each. The name is looked up each time that it runs:
	// a constant of type regclass would be that of the time when it was prepared. The owners of table and schema, who can put
	// another table in its place, must be such as can act as our role anyway: a superuser, a member of it, or itself.
	heartbeatCheck = `WITH h AS (
    SELECT c.*, n.nspowner
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.oid = pg_catalog.to_regclass('reliability.heartbeat')
)
SELECT 'it is not there' WHERE NOT EXISTS (SELECT FROM h)
UNION ALL
SELECT 'its owner ' || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(relowner)) || ' could run code as this role' FROM h
 WHERE NOT pg_catalog.pg_has_role(relowner, current_user, 'MEMBER')
UNION ALL
SELECT 'the owner of its schema, ' || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(nspowner)) || ', could run code as this role' FROM h
 WHERE NOT pg_catalog.pg_has_role(nspowner, current_user, 'MEMBER')
UNION ALL
SELECT 'it is not an ordinary table' FROM h
 WHERE relkind <> 'r' OR relispartition OR relpersistence <> 'p' OR reloftype <> 0 OR relam <> 2
UNION ALL
SELECT 'it has heirs or parents' FROM h
 WHERE EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE h.oid IN (i.inhrelid, i.inhparent))
UNION ALL
SELECT 'it has a trigger' FROM h WHERE EXISTS (SELECT FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = h.oid)
UNION ALL
SELECT 'it has a rule' FROM h WHERE EXISTS (SELECT FROM pg_catalog.pg_rewrite AS r WHERE r.ev_class = h.oid)
UNION ALL
SELECT 'it has row security' FROM h
 WHERE relrowsecurity OR relforcerowsecurity OR EXISTS (SELECT FROM pg_catalog.pg_policy AS p WHERE p.polrelid = h.oid)
UNION ALL
SELECT 'it has other constraints than its primary key' FROM h
 WHERE EXISTS (SELECT FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = h.oid AND k.contype NOT IN ('p', 'n'))
UNION ALL
SELECT 'it has an index on an expression or with a condition' FROM h
 WHERE EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = h.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))
UNION ALL
SELECT 'its columns are not those of heartbeat.sql, or have defaults' FROM h
 WHERE (SELECT pg_catalog.string_agg(pg_catalog.format('%s %s', a.attname, a.atttypid), ',' ORDER BY a.attnum)
          FROM pg_catalog.pg_attribute AS a
         WHERE a.attrelid = h.oid AND a.attnum > 0 AND NOT a.attisdropped) IS DISTINCT FROM 'instance 25,beat_at 1184,beats 20'
    OR EXISTS (SELECT FROM pg_catalog.pg_attrdef AS d WHERE d.adrelid = h.oid)
    OR EXISTS (SELECT FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = h.oid AND (a.attidentity <> '' OR a.attgenerated <> ''))`
	heartbeatCommit   = "COMMIT"
	heartbeatRollback = "ROLLBACK"
)

// heartbeatSQL needs no privilege but those of deploy/sql/heartbeat.sql.
func heartbeatSQL(instance string) string {
	return "INSERT INTO reliability.heartbeat AS h (instance, beat_at, beats)\n" +
		"VALUES (" + quote(instance) + ", pg_catalog.clock_timestamp(), 1)\n" +
		"    ON CONFLICT (instance) DO UPDATE SET beat_at = excluded.beat_at, beats = h.beats + 1"
}

// quote makes a literal that means the same whatever standard_conforming_strings says.
func quote(text string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

// heartbeat checks and writes in one transaction of three round trips. After a failure nothing of it is left, or the session
// is closed.
func heartbeat(ctx context.Context, s session, write string) error {
	return checked(ctx, s, heartbeatLock, write, func([][]byte) {})
}

// checked runs a statement on the table in a transaction that has found it to be what heartbeat.sql makes, and has it locked. After a
// failure nothing of that is left, or the session is closed.
func checked(ctx context.Context, s tableSession, lock, statement string, row func([][]byte)) error {
	err := lockedAndChecked(ctx, s, lock, statement, row)
	if err == nil || s.Broken() {
		return err
	}
	if s.Pooled() {
		s.Close() // each statement of ours begins with settings there, which a transaction that has failed does not take
		return err
	}
	if _, rollback := s.Query(ctx, heartbeatRollback); rollback != nil {
		s.Close()
	}
	return err
}

// tableSession is what that takes of a session.
type tableSession interface {
	Query(ctx context.Context, sql string) ([][]*string, error)
	Pipeline(ctx context.Context, statements []postgres.Statement, row postgres.RowFunc) ([]postgres.Outcome, error)
	Pooled() bool
	Broken() bool
	Close()
}

func lockedAndChecked(ctx context.Context, s tableSession, lock, statement string, row func([][]byte)) error {
	// The lock apart from the check, which would fill the server's log where there is no table.
	if err := pipeline(ctx, s, []string{heartbeatBegin, lock}, func([][]byte) {}); err != nil {
		return withoutTable(err)
	}
	var complaints []string
	err := pipeline(ctx, s, []string{heartbeatCheck}, func(values [][]byte) {
		complaints = append(complaints, string(values[0]))
	})
	if err != nil {
		return err
	}
	if len(complaints) > 0 {
		return &postgres.Failure{Reason: postgres.Permission, Err: fmt.Errorf("reliability.heartbeat is not used: %s. "+
			"HINT: Drop the schema reliability, and run deploy/sql/heartbeat.sql as a superuser", strings.Join(complaints, "; "))}
	}
	return pipeline(ctx, s, []string{statement, heartbeatCommit}, row)
}

// withoutTable adds the remedy where the table was never made.
func withoutTable(err error) error {
	const noSchema, noTable = "3F000", "42P01"
	var report *pgconn.PgError
	if errors.As(err, &report) && (report.Code == noSchema || report.Code == noTable) {
		return fmt.Errorf("%w. HINT: Run deploy/sql/heartbeat.sql in this database as a superuser", err)
	}
	return err
}

// pipeline runs statements in one round trip; the error is the first one's.
func pipeline(ctx context.Context, s tableSession, statements []string, row func([][]byte)) error {
	list := make([]postgres.Statement, len(statements))
	for i, sql := range statements {
		list[i].SQL = sql
	}
	outcomes, err := s.Pipeline(ctx, list, func(_ int, _ []pgconn.FieldDescription, values [][]byte) { row(values) })
	if err != nil {
		return err
	}
	for _, o := range outcomes {
		if o.Err != nil {
			return o.Err
		}
	}
	return nil
}
