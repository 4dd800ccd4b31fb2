package postgres

import (
	"errors"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// mostLessons is how often one attempt to connect is made again with other start-up parameters.
const mostLessons = 3

// learns takes a failure to connect that is due to what was sent with the login, or was not; true when the next attempt does otherwise.
func (c *Connector) learns(err error) bool {
	if errors.Is(err, syscall.EPIPE) {
		// The server had gone before the first statement. Through a socket in a directory its last words can't be read any more.
		c.early.Store(idleLimit, true)
		return true
	}
	var pg *pgconn.PgError
	switch {
	case !errors.As(err, &pg):
		return false
	case strings.Contains(pg.Message, "unsupported startup parameter"): // PgBouncer's words
		return c.pooler.CompareAndSwap(false, true)
	case pg.Code == "57P05":
		c.early.Store(idleLimit, true)
		return true
	case pg.Code == "25P04":
		c.early.Store(transactionLimit, true)
		return true
	case pg.Code == "42704": // the address leads to an older server now
		return c.forgets(pg.Message)
	}
	return false
}

// forgets takes the words of a server that does not know a setting; true when it was one of the early ones, which is no longer.
func (c *Connector) forgets(message string) bool {
	forgot := false
	c.early.Range(func(name, _ any) bool {
		if strings.Contains(message, name.(string)) {
			c.early.Delete(name)
			forgot = true
		}
		return true
	})
	return forgot
}
