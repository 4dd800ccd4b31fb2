// Package failure names why a backup command failed: one word of a fixed list, fit to be a metric's
// label value, a journal entry and the choice of an exit code.
package failure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// Reason is why a command failed.
type Reason string

const (
	// Config: a flag, variable or file is wrong; nothing was tried.
	Config Reason = "config"
	// Connection: the server can't be reached, turns the login down, or went away midway.
	Connection Reason = "connection"
	// Permission: the role lacks a privilege, or row-level security would have hidden rows from it.
	Permission Reason = "permission"
	// LockTimeout: a table stayed locked longer than the lock timeout.
	LockTimeout Reason = "lock_timeout"
	// Dump: the engine's program failed, or what it wrote is not what the server holds.
	Dump Reason = "dump"
	// Verify: a backup was read or restored and is not what its manifest says.
	Verify Reason = "verify"
	// Space: the disk is full, or would be.
	Space Reason = "space"
	// Locked: another job works on the same repository or server.
	Locked Reason = "locked"
	// Version: no client programs of the server's major version, or a server of the wrong one.
	Version Reason = "version"
	// Refused: the target of a restore holds something the command won't touch.
	Refused Reason = "refused"
	// Nothing: no backup answers the description.
	Nothing Reason = "nothing"
	// Interrupted: a signal ended the command in an orderly way.
	Interrupted Reason = "interrupted"
	// Killed: a run vanished without a word; the next start found its remains.
	Killed Reason = "killed"
	// Timeout: the overall deadline passed.
	Timeout Reason = "timeout"
	// Repository: the repository is missing, unmounted, unreadable or of another make.
	Repository Reason = "repository"
	// Restore: a restore failed midway; the original is untouched.
	Restore Reason = "restore"
	// Offsite: the copy to the other place failed; the local backup is good.
	Offsite Reason = "offsite"
	// Stale: the newest good backup is too old (healthcheck).
	Stale Reason = "stale"
	// Incomplete: the backup was published, good for what it holds, and a database that was asked for is not in it.
	Incomplete Reason = "incomplete"
	// Other is whatever is none of the above; the log has the text.
	Other Reason = "other"
)

// Reasons lists every reason.
func Reasons() []Reason {
	return []Reason{
		Config, Connection, Permission, LockTimeout, Dump, Verify, Space, Locked, Version, Refused, Nothing,
		Interrupted, Killed, Timeout, Repository, Restore, Offsite, Stale, Incomplete, Other,
	}
}

// Error is an error with its reason and, where there is one, the remedy.
type Error struct {
	Reason Reason
	Err    error
	// Hint is a sentence that says what to do; empty when nobody knows.
	Hint string
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Err.Error()
	}
	return e.Err.Error() + ". HINT: " + e.Hint
}

func (e *Error) Unwrap() error { return e.Err }

// New makes an error with a reason; format is fmt.Errorf's.
func New(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Err: fmt.Errorf(format, args...)}
}

// WithHint adds the remedy.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// Of classifies an error: by the outermost Error that wraps it, then by what the operating system
// or the server said. Nil is the empty reason. A full disk wins over everything it caused.
func Of(err error) Reason {
	if err == nil {
		return ""
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return Space
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	switch {
	case errors.Is(err, context.Canceled):
		return Interrupted
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	}
	var path *fs.PathError
	file := errors.As(err, &path)
	// A program that can't be started, and a file that can't be opened because too many are, is this process's own want: neither the
	// server's (EAGAIN and ENOMEM come from a dial, too) nor the repository's.
	if file && path.Op == "fork/exec" || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return Other
	}
	// What may not be written is no privilege of the server's: who looks for one there looks in vain.
	if file && (errors.Is(path.Err, fs.ErrPermission) || errors.Is(path.Err, syscall.EROFS)) {
		return Repository
	}
	if r := ofServer(err); r != Other {
		return r
	}
	if file {
		return Repository
	}
	return Other
}

// WithReason gives an error without a reason the reason it has by what caused it, or another where that tells none.
func WithReason(err error, otherwise Reason) error {
	var f *Error
	if err == nil || errors.As(err, &f) {
		return err
	}
	if r := Of(err); r != Other {
		otherwise = r
	}
	return &Error{Reason: otherwise, Err: err}
}

// ofServer classifies an error that came from talking to the server.
func ofServer(err error) Reason {
	switch postgres.ReasonOf(err) {
	case postgres.Refused, postgres.Timeout, postgres.DNS, postgres.TLS, postgres.Auth, postgres.PgHBA, postgres.NoDatabase,
		postgres.TooManyConnections, postgres.ConnectionLimit, postgres.StartingUp, postgres.ShuttingDown, postgres.RecoveryConflict,
		postgres.Protocol:
		return Connection
	case postgres.Permission:
		return Permission
	case postgres.LockTimeout:
		return LockTimeout
	}
	return Other
}
