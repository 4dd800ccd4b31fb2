package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// MinimumMajor is the oldest server the job works with.
const MinimumMajor = 13

// Facts reads what a manifest says about the server.
func Facts(ctx context.Context, conn *pgx.Conn) (catalog.Server, error) {
	var s catalog.Server
	err := conn.QueryRow(ctx, `
		SELECT pg_catalog.current_setting('server_version'),
		       pg_catalog.current_setting('server_version_num')::int,
		       (SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
		       (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()),
		       pg_catalog.pg_is_in_recovery(),
		       pg_catalog.current_setting('data_checksums')::bool`).
		Scan(&s.Version, &s.VersionNum, &s.SystemIdentifier, &s.Timeline, &s.InRecovery, &s.DataChecksums)
	if err != nil {
		return s, fmt.Errorf("ask the server for its version: %w", err)
	}
	if s.Major() < MinimumMajor {
		return s, failure.New(failure.Version, "the server is PostgreSQL %d; %d is the oldest supported", s.Major(), MinimumMajor)
	}
	return s, nil
}

// Unfinished begins the comment on databases that are being restored.
const Unfinished = "pg_reliability_backup: unfinished restore of "

// Properties reads what CREATE DATABASE, ALTER DATABASE and GRANT gave a database, its owner and size.
func Properties(ctx context.Context, conn *pgx.Conn, database string) (d catalog.Database, err error) {
	p := &d.Properties
	var major int
	if err := conn.QueryRow(ctx, `SELECT pg_catalog.current_setting('server_version_num')::int / 10000`).Scan(&major); err != nil {
		return d, fmt.Errorf("ask the server for its version: %w", err)
	}
	provider, locale, rules := "'c'", "''", "''"
	switch {
	case major >= 17:
		provider, locale, rules = "d.datlocprovider::text", "coalesce(d.datlocale, '')", "coalesce(d.daticurules, '')"
	case major == 16:
		provider, locale, rules = "d.datlocprovider::text", "coalesce(d.daticulocale, '')", "coalesce(d.daticurules, '')"
	case major == 15:
		provider, locale = "d.datlocprovider::text", "coalesce(d.daticulocale, '')"
	}
	var providerCode string
	err = conn.QueryRow(ctx, `
		SELECT pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.pg_encoding_to_char(d.encoding),
		       d.datcollate, d.datctype, `+provider+`, `+locale+`, `+rules+`,
		       d.datconnlimit, d.datistemplate, d.datallowconn, t.spcname,
		       coalesce(pg_catalog.shobj_description(d.oid, 'pg_database'), ''),
		       d.datacl IS NULL, pg_catalog.pg_database_size(d.oid)
		  FROM pg_catalog.pg_database d
		  JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
		 WHERE d.datname = $1`, Bytes(database)).
		Scan(&d.Owner, &p.Encoding, &p.Collate, &p.CType, &providerCode, &p.Locale, &p.ICURules,
			&p.ConnectionLimit, &p.IsTemplate, &p.AllowConn, &p.Tablespace, &p.Comment, &p.DefaultGrants, &d.ServerBytes)
	if err != nil {
		return d, fmt.Errorf("read the properties of database %s: %w", database, err)
	}
	if major >= 15 {
		p.LocaleProvider = map[string]string{"c": "libc", "i": "icu", "b": "builtin"}[providerCode]
	}
	rows, err := conn.Query(ctx, `
		SELECT coalesce(pg_catalog.pg_get_userbyid(nullif(s.setrole, 0)), ''),
		       pg_catalog.split_part(c, '=', 1), pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1)
		  FROM pg_catalog.pg_db_role_setting s
		  JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
		 CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS c (c, nth)
		 WHERE d.datname = $1
		 ORDER BY 1, c.nth`, Bytes(database))
	if err == nil {
		p.Settings, err = pgx.CollectRows(rows, pgx.RowToStructByPos[catalog.Setting])
	}
	if err != nil {
		return d, fmt.Errorf("read the settings of database %s: %w", database, err)
	}
	rows, err = conn.Query(ctx, `
		SELECT CASE WHEN a.grantee = 0 THEN '' ELSE pg_catalog.pg_get_userbyid(a.grantee) END,
		       a.privilege_type, a.is_grantable, pg_catalog.pg_get_userbyid(a.grantor)
		  FROM pg_catalog.pg_database d
		 CROSS JOIN LATERAL pg_catalog.aclexplode(d.datacl) AS a
		 WHERE d.datname = $1
		 ORDER BY 1, 2, 4`, Bytes(database))
	if err == nil {
		p.Grants, err = pgx.CollectRows(rows, pgx.RowToStructByPos[catalog.Grant])
	}
	if err != nil {
		return d, fmt.Errorf("read the privileges on database %s: %w", database, err)
	}
	rows, err = conn.Query(ctx, `
		SELECT l.provider, l.label
		  FROM pg_catalog.pg_shseclabel l
		  JOIN pg_catalog.pg_database d ON d.oid = l.objoid
		 WHERE l.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass AND d.datname = $1
		 ORDER BY 1`, Bytes(database))
	if err == nil {
		p.Labels, err = pgx.CollectRows(rows, pgx.RowToStructByPos[catalog.Label])
	}
	if err != nil {
		return d, fmt.Errorf("read the security labels of database %s: %w", database, err)
	}
	Readable(&d)
	d.Name = database // which is written so already
	return d, nil
}

// lockKey is the advisory lock of all backup jobs: the bytes "pgrelbak".
const lockKey int64 = 0x706772656c62616b

// maintenance is where server-wide work is done: an advisory lock holds within one database.
const maintenance = "postgres"

// lockPatience is how long a lock may be held by a session that is about to vanish.
const lockPatience = time.Second

// Lock is the advisory lock that keeps two jobs from backing up the same server at once, whatever
// their repositories. It lives in a session of its own.
type Lock struct{ conn *pgx.Conn }

// TakeLock takes the lock in the database postgres, or in the connection string's own where there is
// none. A lock that is held is an error of reason failure.Locked.
func TakeLock(ctx context.Context, t Target) (*Lock, error) {
	lock, err := TakeLockIn(ctx, t, maintenance)
	if failure.Of(err) == failure.Connection {
		if other, e := TakeLockIn(ctx, t, ""); e == nil || failure.Of(e) == failure.Locked {
			return other, e
		}
	}
	return lock, err
}

// TakeLockIn takes the lock from a session in the given database. An advisory lock holds within one
// database: whoever can't use "postgres" is not kept apart from those that can.
func TakeLockIn(ctx context.Context, t Target, database string) (*Lock, error) {
	conn, err := t.Connect(ctx, database)
	if err != nil {
		return nil, err
	}
	var got bool
	// The session of a job that just ended, or was killed, takes a moment to vanish.
	for deadline := time.Now().Add(lockPatience); !got; {
		if err := conn.QueryRow(ctx, `SELECT pg_catalog.pg_try_advisory_lock($1)`, lockKey).Scan(&got); err != nil {
			return nil, errors.Join(fmt.Errorf("take the advisory lock: %w", err), conn.Close(ctx))
		}
		if got || time.Now().After(deadline) {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	if !got {
		err := failure.New(failure.Locked, "another backup job works on this server (advisory lock %d is held)", lockKey).
			WithHint("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = %d shows its session.", lockKey&0xffffffff)
		return nil, errors.Join(err, conn.Close(ctx))
	}
	return &Lock{conn: conn}, nil
}

// Release gives the lock back.
func (l *Lock) Release() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, _ = l.conn.Exec(ctx, `SELECT pg_catalog.pg_advisory_unlock($1)`, lockKey) // now, not when the session is gone
	_ = l.conn.Close(ctx)
}
