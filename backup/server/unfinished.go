package server

import (
	"regexp"
	"strings"
)

const (
	// BesidePrefix begins the names of databases that are being restored. A random number follows: names of 63 bytes that
	// begin alike would become one, if the new name were made of the old.
	BesidePrefix = "pg_reliability_restore_"
	// Unfinished begins the comment on databases that are being restored.
	Unfinished = "pg_reliability_backup: unfinished restore of "
)

// UnfinishedComment is an expression of SQL: the comment of a row of pg_database where it may be Mark's, else ”. Any other
// may be as long as its author likes.
const UnfinishedComment = `coalesce((SELECT t.said FROM (SELECT pg_catalog.shobj_description(oid, 'pg_database') AS said OFFSET 0) t
		                  WHERE pg_catalog.octet_length(t.said) < 500), '')`

var (
	besidePattern = regexp.MustCompile(`^` + BesidePrefix + `[0-9a-f]{16}$`)
	// oldPattern is what the names ended with before they were random numbers.
	oldPattern = regexp.MustCompile(`_restore_[0-9]{8}T[0-9]{6}$`)
)

// IsBeside says whether a database has such a name as a restore chooses.
func IsBeside(name string) bool { return besidePattern.MatchString(name) }

// Mark is the comment on a database that is being restored. It holds the database's name: what somebody renamed to use it
// is not ours any more.
func Mark(id, name string) string { return Unfinished + id + " as " + name }

// IsUnfinished says whether a database is half a restore: nobody's data, so that it is in no backup, keeps no bootstrap from its
// work, and is dropped by the next restore. Name and comment must both be ours. A comment alone can be anybody's, since
// a database's owner chooses it, and a backup brings it back.
func IsUnfinished(name, comment string) bool {
	if !strings.HasPrefix(comment, Unfinished) {
		return false
	}
	if strings.Contains(comment, " as ") {
		return strings.HasSuffix(comment, " as "+name) && (IsBeside(name) || oldPattern.MatchString(name))
	}
	return oldPattern.MatchString(name)
}
