package server

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// shared says whether what is between us and the server gives a session of the server's to several of its clients in turn, as PgBouncer
// does with pool_mode transaction or statement. No snapshot and no lock would hold there, and what we set would stay for other people's
// statements. It is told by two clients at once, which have two sessions elsewhere, each its own.
func (t Target) shared(ctx context.Context, cfg *pgx.ConnConfig) bool {
	const rounds, patience = 5, 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cfg = cfg.Copy()
	for _, s := range settings() {
		delete(cfg.RuntimeParams, s.name)
	}
	delete(cfg.RuntimeParams, "client_encoding")
	delete(cfg.RuntimeParams, identity)
	var clients [2]*pgx.Conn
	for i := range clients {
		conn, err := pgx.ConnectConfig(ctx, cfg)
		if err != nil {
			return false // the login that follows says why
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		clients[i] = conn
	}
	var own [2]string
	for range rounds {
		for i, conn := range clients {
			// Of no name: a prepared one would be in the session of whoever comes next.
			r := conn.PgConn().ExecParams(ctx, "SELECT pg_catalog.pg_backend_pid()", nil, nil, nil, nil).Read()
			if r.Err != nil || len(r.Rows) != 1 { // a pool with one session, which the other client has
				return false
			}
			pid := string(r.Rows[0][0])
			if own[i] != "" && own[i] != pid {
				return true
			}
			own[i] = pid
		}
		if own[0] == own[1] {
			return true
		}
	}
	return false
}
