package failure

import (
	"errors"
	"strings"
)

// WithLocks adds the remedy to an error that says that a server's table of locks is full, in the server's words or a program's; how says
// where the setting is changed, as in "on the server". Names of settings and codes are not translated. Other errors stay as they are.
func WithLocks(err error, how string) error {
	if err == nil {
		return nil
	}
	var f *Error
	if !LacksLocks(err) || errors.As(err, &f) && f.Hint != "" {
		return err
	}
	return New(Of(err), "%w", err).
		WithHint("Raise max_locks_per_transaction %s: its table of locks has no room for what must be locked at once.", how)
}

// LacksLocks says whether an error is that a server's table of locks is full, in the server's words or a program's.
func LacksLocks(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "SQLSTATE 53200") || strings.Contains(err.Error(), "max_locks_per_transaction"))
}
