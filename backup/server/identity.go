package server

import (
	"context"
	"fmt"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Identify asks a server for its system identifier, from whichever database lets us in. Physical standbys and copies of a
// data directory have their primary's.
func Identify(ctx context.Context, t Target) (string, error) {
	conn, err := t.Connect(ctx, maintenance)
	if failure.Of(err) == failure.Connection {
		conn, err = t.Connect(ctx, "")
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var id string
	if err := conn.QueryRow(ctx, `SELECT system_identifier::text FROM pg_catalog.pg_control_system()`).Scan(&id); err != nil {
		return "", fmt.Errorf("ask the server for its system identifier: %w", err)
	}
	return id, nil
}
