package server

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
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
		       pg_catalog.current_setting('data_checksums') = 'on'`).
		Scan(&s.Version, &s.VersionNum, &s.SystemIdentifier, &s.Timeline, &s.InRecovery, &s.DataChecksums)
	if err != nil {
		return s, fmt.Errorf("ask the server for its version: %w", err)
	}
	if s.Major() < MinimumMajor {
		return s, failure.New(failure.Version, "the server is PostgreSQL %d; %d is the oldest supported", s.Major(), MinimumMajor)
	}
	return s, nil
}

// mostGrants bounds the privileges on one database: its owner can give some to every role there is.
const mostGrants = 10_000

// Properties reads what CREATE DATABASE, ALTER DATABASE and GRANT gave a database, its owner and size, and what of that is too
// long to be kept. Texts counts what is; nil begins to count.
func Properties(ctx context.Context, conn *pgx.Conn, database string, texts *sqltext.Texts) (d catalog.Database,
	tooLong []catalog.Omission, err error) {
	if texts == nil {
		texts = &sqltext.Texts{}
	}
	p := &d.Properties
	var major int
	if err := conn.QueryRow(ctx, `SELECT pg_catalog.current_setting('server_version_num')::int / 10000`).Scan(&major); err != nil {
		return d, nil, fmt.Errorf("ask the server for its version: %w", err)
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
	var commentBytes, rulesBytes int64
	keeps := func(what, of string, bytes int64, remedy string) bool {
		if bytes == 0 || texts.Keep(database+"\x00"+of, bytes) {
			return true
		}
		tooLong = append(tooLong, catalog.TooLongText(database, what, bytes, remedy))
		return false
	}
	err = conn.QueryRow(ctx, `
		SELECT pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.pg_encoding_to_char(d.encoding),
		       d.datcollate, d.datctype, `+provider+`, `+locale+`, `+sqltext.Short(rules)+`,
		       d.datconnlimit, d.datistemplate, d.datallowconn, t.spcname,
		       `+sqltext.Short("pg_catalog.shobj_description(d.oid, 'pg_database')")+`,
		       d.datacl IS NULL, pg_catalog.pg_database_size(d.oid)
		  FROM pg_catalog.pg_database d
		  JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
		 WHERE d.datname = $1`, Bytes(database)).
		Scan(&d.Owner, &p.Encoding, &p.Collate, &p.CType, &providerCode, &p.Locale, &p.ICURules, &rulesBytes,
			&p.ConnectionLimit, &p.IsTemplate, &p.AllowConn, &p.Tablespace, &p.Comment, &commentBytes, &p.DefaultGrants, &d.ServerBytes)
	if err != nil {
		return d, nil, fmt.Errorf("read the properties of database %s: %w", database, err)
	}
	if rulesBytes > sqltext.MostBytes { // a restore can't do without
		return d, nil, failure.New(failure.Dump, "the ICU rules of database %s have %d bytes, at most %d are kept", database, rulesBytes,
			sqltext.MostBytes)
	}
	if !keeps("its comment", "", commentBytes, "COMMENT ON DATABASE "+Quote(database)+" IS NULL") {
		p.Comment = ""
	}
	if major >= 15 {
		p.LocaleProvider = map[string]string{"c": "libc", "i": "icu", "b": "builtin"}[providerCode]
	}
	// The texts are not sorted and not kept by the server: they may be more than it may write to its disk.
	rows, err := conn.Query(ctx, `
		SELECT x.role, `+sqltext.Short("x.c")+`
		  FROM (SELECT coalesce(pg_catalog.pg_get_userbyid(nullif(s.setrole, 0)), '') AS role, pg_catalog.unnest(s.setconfig) AS c
		          FROM pg_catalog.pg_db_role_setting s
		          JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
		         WHERE d.datname = $1) x`, Bytes(database))
	if err == nil {
		var role, set string
		var bytes int64
		_, err = pgx.ForEachRow(rows, []any{&role, &set, &bytes}, func() error {
			s := catalog.SettingOf(role, set)
			what, remedy := "setting "+Text(s.Name), "ALTER DATABASE "+Quote(database)+" RESET it."
			if role != "" {
				what, remedy = what+" of role "+Text(role), "ALTER ROLE ... IN DATABASE "+Quote(database)+" RESET it."
			}
			if keeps(what, role, bytes, remedy) {
				p.Settings = append(p.Settings, s)
			}
			return nil
		})
		slices.SortStableFunc(p.Settings, func(a, b catalog.Setting) int { return strings.Compare(a.Role, b.Role) })
	}
	if err != nil {
		return d, nil, fmt.Errorf("read the settings of database %s: %w", database, err)
	}
	rows, err = conn.Query(ctx, `
		SELECT CASE WHEN a.grantee = 0 THEN '' ELSE pg_catalog.pg_get_userbyid(a.grantee) END,
		       a.privilege_type, a.is_grantable, pg_catalog.pg_get_userbyid(a.grantor)
		  FROM pg_catalog.pg_database d
		 CROSS JOIN LATERAL pg_catalog.aclexplode(d.datacl) AS a
		 WHERE d.datname = $1
		 ORDER BY 1, 2, 4
		 LIMIT $2`, Bytes(database), mostGrants+1)
	if err == nil {
		p.Grants, err = pgx.CollectRows(rows, pgx.RowToStructByPos[catalog.Grant])
	}
	if err != nil {
		return d, nil, fmt.Errorf("read the privileges on database %s: %w", database, err)
	}
	if len(p.Grants) > mostGrants {
		p.Grants = p.Grants[:mostGrants]
		tooLong = append(tooLong, catalog.Omission{
			Kind: catalog.TooLong, Database: database, Name: "its privileges", Why: fmt.Sprintf("there are more than %d", mostGrants),
			Remedy: "Grant them to a role that others are in.",
		})
	}
	rows, err = conn.Query(ctx, `
		SELECT l.provider, `+sqltext.Short("l.label")+`
		  FROM pg_catalog.pg_shseclabel l
		  JOIN pg_catalog.pg_database d ON d.oid = l.objoid
		 WHERE l.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass AND d.datname = $1
		 ORDER BY 1`, Bytes(database))
	if err == nil {
		var l catalog.Label
		var bytes int64
		_, err = pgx.ForEachRow(rows, []any{&l.Provider, &l.Label, &bytes}, func() error {
			if keeps("security label of "+Text(l.Provider), "", bytes, "SECURITY LABEL ON DATABASE "+Quote(database)+" IS NULL") {
				p.Labels = append(p.Labels, l)
			}
			return nil
		})
	}
	if err != nil {
		return d, nil, fmt.Errorf("read the security labels of database %s: %w", database, err)
	}
	Readable(&d)
	d.Name = database // which is written so already
	return d, tooLong, nil
}
