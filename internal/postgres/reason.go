package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// Reason is why talking to the server failed: one word of a fixed list, fit to be a label value.
type Reason string

const (
	// OK is the absence of a failure.
	OK Reason = "ok"
	// Refused: nobody listens, or the other side cut the connection without a word.
	Refused Reason = "refused"
	// Timeout: no answer within the deadline, no route to the host, or the server's statement_timeout.
	Timeout Reason = "timeout"
	// DNS: the host's name can't be resolved.
	DNS Reason = "dns"
	// TLS: no encryption where it is required, or a certificate that does not verify.
	TLS Reason = "tls"
	// Auth: the login was turned down: wrong password, no such role, or a role that may not log in.
	Auth Reason = "auth"
	// PgHBA: no line of pg_hba.conf lets this role, database and address in, or one rejects it.
	PgHBA Reason = "pg_hba"
	// NoDatabase: the server has no database of that name.
	NoDatabase Reason = "no_database"
	// TooManyConnections: no slot of max_connections is left for us.
	TooManyConnections Reason = "too_many_connections"
	// ConnectionLimit: the limit of our role, or of the database, is reached; the server has room for others.
	ConnectionLimit Reason = "connection_limit"
	// StartingUp: the server recovers or does not accept connections yet.
	StartingUp Reason = "starting_up"
	// ShuttingDown: the server is stopping, or cut the session because it stops or crashed.
	ShuttingDown Reason = "shutting_down"
	// RecoveryConflict: a standby's replay cancelled the query.
	RecoveryConflict Reason = "recovery_conflict"
	// Permission: the role lacks a privilege, or the database takes no connections.
	Permission Reason = "permission"
	// LockTimeout: a lock was not granted within lock_timeout.
	LockTimeout Reason = "lock_timeout"
	// ReadOnly: a write was turned down because the server or the session is read-only.
	ReadOnly Reason = "read_only"
	// Protocol: what answers does not keep to PostgreSQL's protocol, or sends more than any server does: something else listens
	// there, it is broken, or it means ill.
	Protocol Reason = "protocol"
	// Query: the server ran the query and reported an error in it.
	Query Reason = "query"
	// Other is whatever is none of the above; the log has the text.
	Other Reason = "other"
)

// Reasons lists every reason a failure can have, without OK.
func Reasons() []Reason {
	return []Reason{
		Refused, Timeout, DNS, TLS, Auth, PgHBA, NoDatabase, TooManyConnections, ConnectionLimit, StartingUp, ShuttingDown,
		RecoveryConflict, Permission, LockTimeout, ReadOnly, Protocol, Query, Other,
	}
}

// OnlyLogins says that the server turns new logins down for this reason, while connections that are open go on working.
func (r Reason) OnlyLogins() bool {
	switch r {
	case TooManyConnections, ConnectionLimit, Auth, PgHBA, NoDatabase:
		return true
	}
	return false
}

// Failure is an error that carries its reason.
type Failure struct {
	Reason Reason
	Err    error
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// ReasonOf classifies an error by its SQLSTATE and the network error it wraps. Nil is OK. Where several attempts were made, the
// reason is that of the one that mattered.
func ReasonOf(err error) Reason {
	if err == nil {
		return OK
	}
	var failure *Failure
	if errors.As(err, &failure) {
		return failure.Reason
	}
	var said *saidError
	if errors.As(err, &said) {
		return said.reason
	}
	if errors.Is(err, ErrTooMuch) || errors.Is(err, errProtocol) {
		return Protocol
	}
	tried := attempts(err)
	if report := reportOf(tried); report != nil {
		return reasonOfSQLState(report)
	}
	return reasonOfNetwork(tried[len(tried)-1])
}

// attempts are what was tried for one connection, in order: each address, and each with and without TLS where sslmode allows both.
// An attempt with TLS at a server that has none tells nothing where another without it followed.
func attempts(err error) []error {
	for e := err; e != nil; e = errors.Unwrap(e) {
		list, ok := e.(interface{ Unwrap() []error })
		if !ok {
			continue
		}
		var out []error
		all := list.Unwrap()
		for i, attempt := range all {
			address, turnedDown := strings.CutSuffix(attempt.Error(), noTLS)
			if turnedDown && i+1 < len(all) && strings.HasPrefix(all[i+1].Error(), address) {
				continue
			}
			out = append(out, attempt)
		}
		if len(out) > 0 {
			return out
		}
	}
	return []error{err}
}

// reportOf is the server's own word, of the attempt that got furthest: with sslmode=prefer pg_hba.conf often turns one of the
// two attempts down as a matter of course, and the other one tells what is wrong. Nil when no server said anything.
func reportOf(tried []error) *pgconn.PgError {
	var first *pgconn.PgError
	for _, attempt := range tried {
		var pg *pgconn.PgError
		switch {
		case !errors.As(attempt, &pg):
		case pg.Code != noEntry:
			return pg
		case first == nil:
			first = pg
		}
	}
	return first
}

// noEntry is the SQLSTATE of a login that pg_hba.conf turns down.
const noEntry = "28000"

// notNow is the SQLSTATE of, among others, a login into a database that takes no connections: ALLOW_CONNECTIONS is false, or a DROP
// DATABASE was interrupted.
const notNow = "55000"

// sqlStateReason maps SQLSTATEs (PostgreSQL's appendix A) to reasons.
func sqlStateReason(code string) (Reason, bool) {
	switch code {
	case "53300":
		return TooManyConnections, true
	case "3D000":
		return NoDatabase, true
	case "42501":
		return Permission, true
	case "55P03":
		return LockTimeout, true
	case "57014", "25P03", "25P04", "57P05": // in our sessions: statement_timeout, and the timeouts of sessions and transactions
		return Timeout, true
	case "57P01", "57P02":
		return ShuttingDown, true
	case "40001": // a session that only reads meets it as "conflict with recovery" alone
		return RecoveryConflict, true
	case "25006":
		return ReadOnly, true
	}
	switch code[:min(2, len(code))] {
	case "28":
		return Auth, true
	case "0A", "20", "21", "22", "23", "25", "26", "34", "3F", "40", "42", "44", "55", "P0":
		return Query, true
	}
	return Other, false
}

func reasonOfSQLState(pg *pgconn.PgError) Reason {
	if pg.Code == "57P03" {
		// One SQLSTATE for both; only the text tells. A translated text counts as starting up.
		if strings.Contains(pg.Message, "shutting down") {
			return ShuttingDown
		}
		return StartingUp
	}
	if pg.Code == "08P01" || pg.Code == "58000" {
		return reasonOfPooler(pg.Message)
	}
	// A role that does not exist has the same SQLSTATE as an address that may not connect. The function that reported it is in
	// no language (src/backend/libpq/auth.c).
	if pg.Code == noEntry && pg.Routine == "ClientAuthentication" {
		return PgHBA
	}
	// The database, not a query: src/backend/utils/init/postinit.c.
	if pg.Code == notNow && (pg.Routine == "CheckMyDatabase" || pg.Routine == "InitPostgres") {
		return Permission
	}
	reason, _ := sqlStateReason(pg.Code)
	if reason == TooManyConnections && ofOwnLimit(pg.Routine) {
		return ConnectionLimit
	}
	return reason
}

// ofOwnLimit tells the limit of a role or a database from max_connections, which have one SQLSTATE, by the function that reported it
// (src/backend/utils/init/miscinit.c, postinit.c).
func ofOwnLimit(routine string) bool {
	return routine == "InitializeSessionUserId" || routine == "CheckMyDatabase"
}

// reasonOfPooler reads PgBouncer's texts: it has one SQLSTATE for all of them.
func reasonOfPooler(message string) Reason {
	for _, m := range []struct {
		text   string
		reason Reason
	}{
		{"no more connections allowed", TooManyConnections},
		{"too many", TooManyConnections},
		{"query_wait_timeout", Timeout},
		{"query_timeout", Timeout},
		{"client_login_timeout", Timeout},
		{"no such database", NoDatabase},
		{"no such user", Auth},
		{"authentication failed", Auth},
		{"password", Auth},
		{"server login", Refused},
		{"cannot connect to server", Refused},
		{"server conn crashed", Refused},
		{"server closed", Refused},
		{"connect failed", Refused},
		{"shutting down", ShuttingDown},
		{"database removed", ShuttingDown},
		{"is disabled", ShuttingDown},
	} {
		if strings.Contains(message, m.text) {
			return m.reason
		}
	}
	return Other
}

func reasonOfNetwork(err error) Reason {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return DNS
	}
	// We turned the server's way of asking for the password down (require_auth). pgconn gives this no type.
	if strings.Contains(err.Error(), "authentication method requirement") {
		return Auth
	}
	if isTLS(err) {
		return TLS
	}
	var netErr net.Error
	switch {
	case pgconn.Timeout(err),
		errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, syscall.EHOSTUNREACH),
		errors.Is(err, syscall.ENETUNREACH),
		errors.Is(err, syscall.EHOSTDOWN),
		errors.As(err, &netErr) && netErr.Timeout():
		return Timeout
	case errors.Is(err, syscall.ECONNREFUSED),
		errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.ECONNABORTED),
		errors.Is(err, syscall.EPIPE),
		errors.Is(err, syscall.ENOENT), // no unix socket
		errors.Is(err, io.EOF),
		errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed),
		errors.Is(err, pgconn.ErrConnClosed):
		return Refused
	case errors.Is(err, syscall.EACCES): // the unix socket's directory
		return Permission
	case isProtocol(err):
		return Protocol
	}
	return Other
}

func isTLS(err error) bool {
	var (
		record    tls.RecordHeaderError
		verify    *tls.CertificateVerificationError
		alert     tls.AlertError
		unknownCA x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	if errors.As(err, &record) || errors.As(err, &verify) || errors.As(err, &alert) ||
		errors.As(err, &unknownCA) || errors.As(err, &hostname) || errors.As(err, &invalid) {
		return true
	}
	// Neither pgconn nor crypto/tls give these a type.
	text := err.Error()
	return strings.Contains(text, "server refused TLS connection") || strings.Contains(text, "tls: ")
}
