package collector

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
)

// placed is what a query's error is for the log: of a collector that users wrote, with where it is written, and with the remedy where the
// server knows no such name.
func placed(d *definition.Definition, err error) error {
	var said *pgconn.PgError
	if d.BuiltIn || !errors.As(err, &said) {
		return err
	}
	err = fmt.Errorf("%s:%d: %w", d.File, d.Line, err)
	switch said.Code {
	case "42P01", "42883", "42704": // a table, a function or an operator, a type that does not exist
		return fmt.Errorf("%w. HINT: Sessions of ours find nothing but what PostgreSQL has itself: write the schema, such as public.orders", err)
	}
	return err
}
