package serverlog

import (
	"regexp"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/sqltext"
)

// Event is a message that tells something of the server: what is kept for the story of an outage.
type Event struct {
	At       time.Time `json:"at"`
	Severity string    `json:"severity"`
	SQLState string    `json:"sqlstate,omitempty"`
	Kind     Kind      `json:"kind,omitempty"`
	// PID is the process that wrote it; 0 where the log does not say.
	PID  int    `json:"pid,omitempty"`
	User string `json:"user,omitempty"`
	// Database, Application and Host of the session.
	Database    string `json:"database,omitempty"`
	Application string `json:"application,omitempty"`
	Host        string `json:"host,omitempty"`
	// Backend is the kind of process, such as "client backend".
	Backend string `json:"backend,omitempty"`
	// Message, Detail and Statement are cut, and masked unless parameters are to be kept.
	Message   string `json:"message"`
	Detail    string `json:"detail,omitempty"`
	Statement string `json:"statement,omitempty"`
	// Number is what the kind speaks of: a signal, an exit code, bytes, seconds.
	Number int64 `json:"number,omitempty"`
	// Process is the PID that the message speaks of.
	Process int `json:"process,omitempty"`
	// Name is what the message speaks of: a setting, a file.
	Name string `json:"name,omitempty"`
}

// What is kept of texts, in bytes.
const (
	maxMessage = 500
	maxName    = 100
)

// text makes bytes of a log fit for a page.
func text(raw []byte, limit int) string {
	return sqltext.Plain(string(raw[:min(len(raw), 4*limit)]), limit)
}

var (
	quoted     = regexp.MustCompile(`'(?:[^']|'')*(?:'|$)`)
	assigned   = regexp.MustCompile(`(?i)\b(password|passwd|secret|token|api_?key|sslpassword)(\s*[=:]\s*)[^\s,;&]+`)
	userinfo   = regexp.MustCompile(`(://[^/@\s:]*:)[^@/\s]+@`)
	keyDetails = regexp.MustCompile(`=\(.*`)
)

// maskMessage takes out of a message what may be a secret or a row's value; names and numbers of the server's stay.
func maskMessage(s string) string {
	s = assigned.ReplaceAllString(s, "$1$2?")
	s = userinfo.ReplaceAllString(s, "$1?@")
	s = keyDetails.ReplaceAllString(s, "=(?)")
	return quoted.ReplaceAllString(s, "'?'")
}

// statement is what is kept of one. It is masked before its lines are joined, since they end comments.
func statement(show sqltext.Show, raw []byte) string {
	return show.Statement(string(raw[:min(len(raw), 4*maxMessage)]), maxMessage)
}

// event makes one of a record.
func (l *Log) event(r *Record, kind Kind, found *arguments, at time.Time) Event {
	mask, show := maskMessage, sqltext.Masked
	if l.o.Parameters {
		mask, show = func(s string) string { return s }, sqltext.Full
	}
	detail := text(r.Detail.Bytes(), maxMessage)
	if failed, arguments := l.words.find(r.Detail.Bytes()); failed == FailedStatement {
		detail = "Failed process was running: " + statement(show, arguments[0])
	} else {
		detail = mask(detail)
	}
	e := Event{
		At: at, Severity: r.Severity.String(), SQLState: text(r.SQLState, sqlStateLength), Kind: kind, PID: r.PID,
		User: text(r.User.Bytes(), maxName), Database: text(r.Database.Bytes(), maxName), Application: text(r.Application.Bytes(), maxName),
		Host: text(r.Host.Bytes(), maxName), Backend: text(r.Backend.Bytes(), maxName),
		Message: mask(text(r.Message(), maxMessage)), Detail: detail, Statement: statement(show, r.Statement.Bytes()),
	}
	if e.SQLState == "" {
		e.SQLState = sqlStates[kind]
	}
	switch kind {
	case ProcessKilled, ProcessExited:
		e.Name, e.Process, e.Number = text(found[0], maxName), number(found[1]), int64(number(found[2]))
	case CheckpointsTooOften:
		e.Number = int64(number(found[0]))
	case TemporaryFile:
		e.Number = int64(number(found[1]))
	case LockWait:
		e.Process, e.Number = number(found[0]), int64(number(found[3]))
	case SettingChanged:
		e.Name = text(found[0], maxName)
	}
	return e
}

// tells is whether a message is worth to be kept for a story, beside being counted.
func tells(r *Record, kind Kind) bool {
	switch kind {
	case NoKind:
		return r.Severity >= Fatal
	case TemporaryFile, StatementTimeout, UserCancel, LockTimeout, AutovacuumCancelled, RedoNotRequired:
		return false
	}
	return true
}
