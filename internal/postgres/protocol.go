package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// errProtocol ends the text of an error of the other side's that no PostgreSQL makes.
var errProtocol = errors.New("is it PostgreSQL?")

func notPostgres(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), errProtocol)
}

// loginKinds are the messages that a login may consist of, and kinds those of all of a connection's life
// (https://www.postgresql.org/docs/current/protocol-message-formats.html).
const (
	loginKinds = "RSKENZv"
	kinds      = loginKinds + "123ACDGHITVWcdnst"
)

// isProtocol tells the driver's complaints of what was sent, to which it gives no type.
func isProtocol(err error) bool {
	text := err.Error()
	return slices.ContainsFunc([]string{
		"invalid message length", " body must have length of ", " body is invalid ", "unknown message type", "message body too large",
		"authentication message too short", "unknown authentication type", "bad authentication message size", "bad auth type",
		"received unexpected message", "server protocol version too low", "received ReadyForQuery before AuthenticationOk",
		"unexpected DataRow message",
		"invalid SCRAM ", "SCRAM iteration count from server too high", "pipeline: no more results but expected ReadyForQuery",
	}, func(s string) bool { return strings.Contains(text, s) })
}

// withoutNil is a text of the driver's without what it says of an error that there was not.
func withoutNil(text string) string { return strings.ReplaceAll(text, ": %!w(<nil>)", "") }
