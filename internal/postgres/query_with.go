package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// QueryWith is Query with another statement behind it, in the same round trip. answered is called with the first one's answer as soon
// as it is there, and must not use the session; what is returned is the other's, with an error of its own. One that fails does not
// touch the first. Where the connection ends both have that error, unless the first was answered before.
func (s *Session) QueryWith(ctx context.Context, sql string, more Statement, answered func(rows [][]*string, err error),
) ([][]*string, error) {
	var rows [2][][]*string
	var counts [2]int
	told := false
	tell := func(o Outcome) {
		if told {
			return
		}
		told = true
		if o.Err != nil {
			answered(nil, o.Err)
			return
		}
		answered(rows[0], tooMany(counts[0]))
	}
	outcomes, err := s.Stream(ctx, []Statement{{SQL: sql}, more}, func(statement int, _ []pgconn.FieldDescription, values [][]byte) {
		if counts[statement]++; counts[statement] <= queryRows {
			rows[statement] = append(rows[statement], copyRow(values))
		}
	}, func(statement int, o Outcome) {
		if statement == 0 {
			tell(o)
		}
	})
	if err == nil {
		err = outcomes[1].Err
	}
	tell(Outcome{Err: err}) // nothing was sent
	if err == nil {
		err = tooMany(counts[1])
	}
	if err != nil {
		return nil, err
	}
	return rows[1], nil
}

// tooMany rows are an error: an answer is kept in memory as a whole.
func tooMany(rows int) error {
	if rows > queryRows {
		return fmt.Errorf("the server sent %d rows, %w: at most %d", rows, ErrTooMuch, queryRows)
	}
	return nil
}
