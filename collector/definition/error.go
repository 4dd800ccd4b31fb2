package definition

import "github.com/pg-reliability/pg_reliability_exporter/internal/yamlfile"

// FileError is a mistake in a collectors' file: where, what is wrong, what would be right.
type FileError = yamlfile.Error
