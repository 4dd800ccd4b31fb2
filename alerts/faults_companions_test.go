package alerts_test

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// companionFaults happen in what stands beside a server; those of the server that only its own views tell of are here, too.
func companionFaults() []fault {
	var bouncer *pgtest.PgBouncer
	return []fault{
		{
			name: "pooler-saturated", about: "a client keeps the one connection of PgBouncer's pool, another waits",
			build: func(s *scene) { pooler(s, "pool_mode = session", "default_pool_size = 1") },
			inject: func(s *scene) {
				throughPooler(s, "SELECT 1") // in session mode the connection is its own as long as it stays
				go throughPooler(s, "SELECT 2")
			},
			want: []alarm{{name: "PgBouncerSaturated", severity: "critical"}},
			may:  []string{"PgBouncerSaturated"}, // the ticket, when five seconds are seen before thirty
		},
		{
			name: "pooler-killed", about: "SIGKILL of PgBouncer, started again after the page",
			build:  func(s *scene) { bouncer = pooler(s) },
			inject: func(*scene) { bouncer.Kill() },
			heal:   func(*scene) { bouncer.Start() },
			want:   []alarm{{name: "PgBouncerDown", severity: "critical"}},
		},
		{
			name: "vacuum-held-back", about: "a logical slot that nobody reads, and 15,000 transactions of the 100,000 until a forced vacuum",
			settings: map[string]string{"wal_level": "logical", "autovacuum_freeze_max_age": "100000"},
			inject: func(s *scene) {
				s.must(s.pg.Exec(context.Background(), "SELECT pg_create_logical_replication_slot('forgotten', 'test_decoding')",
					"SET synchronous_commit = off",
					"DO $$ BEGIN FOR i IN 1..15000 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$"))
			},
			heal: func(s *scene) {
				s.must(s.pg.Exec(context.Background(), "SELECT pg_drop_replication_slot('forgotten')"))
			},
			want: []alarm{{name: "PostgresVacuumHeldBack", severity: "warning"}},
		},
		{
			name: "subscription-broken", about: "a row that its publisher sends is in the subscriber's table already; it is removed after the page",
			settings: map[string]string{"wal_level": "logical"},
			inject:   breakSubscription,
			heal: func(s *scene) {
				s.must(s.pg.ExecIn(context.Background(), "subscriber", "DELETE FROM orders"))
			},
			want: []alarm{{name: "PostgresSubscriptionBroken", severity: "critical"}},
		},
		{
			name: "setting-unsafe", about: "full_page_writes is switched off",
			inject: func(s *scene) {
				s.must(s.pg.Exec(context.Background(), "ALTER SYSTEM SET full_page_writes = off", "SELECT pg_reload_conf()"))
			},
			heal: func(s *scene) {
				s.must(s.pg.Exec(context.Background(), "ALTER SYSTEM RESET full_page_writes", "SELECT pg_reload_conf()"))
			},
			want: []alarm{{name: "PostgresUnsafeSetting", severity: "warning"}},
		},
	}
}

// pooler sets a PgBouncer before the server, and has the exporter watch it.
func pooler(s *scene, lines ...string) *pgtest.PgBouncer {
	s.pg = newCluster(s, nil)
	b := s.pg.PgBouncer(s, lines...)
	s.args = append(s.args, "--pgbouncer.dsn="+b.DSN("stats", "pgbouncer"))
	s.pooler = b.DSN("app", "postgres")
	return b
}

// throughPooler runs a statement as a client of PgBouncer's, which stays until the fault is healed.
func throughPooler(s *scene, statement string) {
	ctx, cancel := context.WithCancel(context.Background())
	before := s.quit
	s.quit = func() { before(); cancel() }
	config, err := pgx.ParseConfig(s.pooler)
	s.must(err)
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return
	}
	context.AfterFunc(ctx, func() { _ = conn.PgConn().Conn().Close() })
	_, _ = conn.Exec(ctx, statement)
}

func breakSubscription(s *scene) {
	ctx := context.Background()
	s.must(s.pg.Exec(ctx, "CREATE DATABASE subscriber"))
	for _, database := range []string{"postgres", "subscriber"} {
		s.must(s.pg.ExecIn(ctx, database, "CREATE TABLE orders (id int PRIMARY KEY)"))
	}
	s.must(s.pg.Exec(ctx, "CREATE PUBLICATION orders FOR TABLE orders", "SELECT pg_create_logical_replication_slot('orders', 'pgoutput')"))
	s.must(s.pg.ExecIn(ctx, "subscriber", fmt.Sprintf("CREATE SUBSCRIPTION orders CONNECTION '%s' PUBLICATION orders "+
		"WITH (create_slot = false, slot_name = 'orders')", s.pg.SocketDSN(pgtest.Superuser, "postgres")), "INSERT INTO orders VALUES (1)"))
	s.metric(`pg_reliability_subscription_enabled{datname="subscriber",subname="orders"}`, 1)
	s.must(s.pg.Exec(ctx, "INSERT INTO orders VALUES (1)"))
}
