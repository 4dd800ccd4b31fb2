package sqltext

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Try executes statements one by one, as Exec does, inside the session's transaction, up to the first that the server
// refuses. What they did is undone then, the transaction goes on, and refused says why. An error is the session's
// own: a lost connection, a full disk, a cancellation, a conflict with others.
func Try(ctx context.Context, conn *pgx.Conn, statements ...string) (refused, err error) {
	if err := Exec(ctx, conn, "SAVEPOINT part"); err != nil {
		return nil, err
	}
	end := "RELEASE part"
	for _, s := range statements {
		if refused = Exec(ctx, conn, s); refused != nil {
			if !ofTheStatement(refused) {
				return nil, refused
			}
			end = "ROLLBACK TO part"
			break
		}
	}
	return refused, Exec(ctx, conn, end)
}

// ofTheStatement says whether an error is the server's verdict on the statement alone.
func ofTheStatement(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || len(pg.Code) < 2 || pg.Severity == "FATAL" || pg.Severity == "PANIC" {
		return false
	}
	switch pg.Code[:2] {
	case "08", // connection
		"25", // state of the transaction
		"40", // rolled back for others' sake
		"53", // resources
		"57", // an operator stepped in
		"58", // the system around the server
		"XX": // internal
		return false
	}
	return true
}
