// Package properties is what a database is apart from what it holds: encoding and locale, with which it is made, and
// owner, settings, privileges, comment, labels and limits, which it is given. (Package server reads them.)
package properties

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// Create makes an empty database with the encoding and locale another one had, and its tablespace where the server has
// one of that name. On a throwaway server the tablespace is the default one, and a locale that the machine lacks is
// replaced by C.
func Create(ctx context.Context, conn *pgx.Conn, name string, db catalog.Database, throwaway bool) error {
	p := db.Properties
	var major int
	var tablespace bool
	err := conn.QueryRow(ctx, `
		SELECT pg_catalog.current_setting('server_version_num')::int / 10000,
		       EXISTS (SELECT FROM pg_catalog.pg_tablespace WHERE spcname = $1)`, sqltext.Bytes(p.Tablespace)).Scan(&major, &tablespace)
	if err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	create := "CREATE DATABASE " + sqltext.Ident(name) + " TEMPLATE template0 ENCODING " + sqltext.Literal(p.Encoding)
	// Naming the default one takes a privilege; leaving it out does not.
	if tablespace && !throwaway && p.Tablespace != "pg_default" {
		create += " TABLESPACE " + sqltext.Ident(p.Tablespace)
	}
	err = sqltext.Exec(ctx, conn, create+locale(p, major))
	if err != nil && throwaway && ctx.Err() == nil {
		if sqltext.Exec(ctx, conn, create+" LC_COLLATE 'C' LC_CTYPE 'C'") == nil {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	return nil
}

// locale is the part of CREATE DATABASE about it, for a server of the major version. All of it is said: what is not,
// comes from the server's template, which may be of another provider.
func locale(p catalog.Properties, major int) string {
	s := " LC_COLLATE " + sqltext.Literal(p.Collate) + " LC_CTYPE " + sqltext.Literal(p.CType)
	switch p.LocaleProvider {
	case "icu":
		s += " LOCALE_PROVIDER icu ICU_LOCALE " + sqltext.Literal(p.Locale)
		if p.ICURules != "" {
			s += " ICU_RULES " + sqltext.Literal(p.ICURules)
		}
	case "builtin":
		s += " LOCALE_PROVIDER builtin BUILTIN_LOCALE " + sqltext.Literal(p.Locale)
	default: // of a server before 15, which knew no other
		if major >= 15 {
			s += " LOCALE_PROVIDER libc"
		}
	}
	return s
}
