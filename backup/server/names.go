package server

import "github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"

// Text is a name as it stands in manifests and messages. (All of these are package sqltext's.)
func Text(name string) string { return sqltext.Text(name) }

// Bytes is the name that Text wrote, as the server has it.
func Bytes(text string) string { return sqltext.Bytes(text) }

// Readable writes every string that a pointer leads to by Text: what was read from a server.
func Readable(v any) { sqltext.Readable(v) }

// Quote quotes an identifier for SQL.
func Quote(names ...string) string { return sqltext.Ident(names...) }

// Literal quotes a string for SQL, whatever standard_conforming_strings says.
func Literal(s string) string { return sqltext.Literal(s) }
