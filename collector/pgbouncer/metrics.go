package pgbouncer

import "github.com/pg-reliability/pg_reliability_exporter/internal/metric"

// The metrics of PgBouncer have the names, labels and meanings that users of prometheus-community/pgbouncer_exporter query. What it
// has not begins with pg_reliability_.
var (
	declared metric.List

	Up          = declared.Gauge("pgbouncer_up", "1 if PgBouncer's admin console answers, 0 if it does not.")
	VersionInfo = declared.Gauge("pgbouncer_version_info", "PgBouncer's version; the value is 1.", "version")
	LeftOut     = declared.Gauge("pg_reliability_pgbouncer_left_out",
		"Rows of the console's answer that are not on the page, because there are more than 200: those of the busiest are.", "answer")

	ConfigClients = declared.Gauge("pgbouncer_config_max_client_connections", "max_client_conn: clients that may be connected at once.")
	ConfigUser    = declared.Gauge("pgbouncer_config_max_user_connections",
		"max_user_connections: server connections that a user may have; 0 is no limit.")
	ClientMaxWait = declared.Gauge("pgbouncer_pools_client_maxwait_seconds",
		"How long the client that has waited longest has waited for a server connection; 0 while none waits.", poolLabels...)
	UsedClients = declared.Gauge("pgbouncer_used_clients", "Clients that are connected.")
)

// Declared lists them.
func Declared() []*metric.Desc { return declared }

var poolLabels = []string{"database", "user"}

// pools is one row for each database and user: who has a connection, and who waits for one.
var pools = table{
	question: "SHOW POOLS", called: "pools", labels: []string{"database", "user"},
	busiest: []string{"maxwait", "cl_waiting", "cl_active", "sv_active"},
	columns: []column{
		pool("cl_active", "client_active_connections", "Clients that have a server connection, or need none at the moment."),
		pool("cl_waiting", "client_waiting_connections", "Clients that wait for a server connection."),
		pool("cl_active_cancel_req", "client_active_cancel_connections",
			"Clients whose request to cancel a query was passed on and is not answered yet."),
		pool("cl_waiting_cancel_req", "client_waiting_cancel_connections", "Clients whose request to cancel a query was not passed on yet."),
		pool("sv_active", "server_active_connections", "Server connections that a client has."),
		pool("sv_active_cancel", "server_active_cancel_connections", "Server connections that pass on a request to cancel a query."),
		pool("sv_being_canceled", "server_being_canceled_connections",
			"Server connections that are kept from others until requests to cancel their query are through."),
		pool("sv_idle", "server_idle_connections", "Server connections that are free."),
		pool("sv_used", "server_used_connections",
			"Server connections that were idle for longer than server_check_delay and are checked before their next use."),
		pool("sv_tested", "server_testing_connections", "Server connections that are being reset or checked."),
		pool("sv_login", "server_login_connections", "Server connections that are logging in."),
		{from: []string{"maxwait"}, micro: "maxwait_us", desc: ClientMaxWait},
	},
}

func pool(from, to, help string) column {
	return column{from: []string{from}, desc: declared.Gauge("pgbouncer_pools_"+to, help, poolLabels...)}
}

var databaseLabels = []string{"name", "host", "port", "database", "force_user", "pool_mode"}

// databases is one row for each entry of [databases], and one for the console.
var databases = table{
	question: "SHOW DATABASES", called: "databases", labels: databaseLabels,
	busiest: []string{"paused", "disabled", "current_connections"},
	columns: []column{
		database("pool_size", "Server connections that a pool of this database may have.", "pool_size"),
		database("min_pool_size", "Server connections that are kept open for this database.", "min_pool_size"),
		database("reserve_pool", "Further server connections that a pool may have when clients have waited long.",
			"reserve_pool", "reserve_pool_size"),
		database("max_connections", "Server connections that all pools of this database may have together; 0 is no limit.", "max_connections"),
		database("current_connections", "Server connections of this database.", "current_connections"),
		database("max_client_connections", "Clients that may be connected to this database; 0 is no limit.", "max_client_connections"),
		database("current_client_connections", "Clients that are connected to this database.", "current_client_connections"),
		database("paused", "1 if the database is paused: its clients wait until RESUME.", "paused"),
		database("disabled", "1 if the database is disabled: no new client is let in until ENABLE.", "disabled"),
	},
}

func database(to, help string, from ...string) column {
	return column{from: from, desc: declared.Gauge("pgbouncer_databases_"+to, help, databaseLabels...)}
}

// stats is one row for each database, counted since PgBouncer started.
var stats = table{
	question: "SHOW STATS_TOTALS", called: "stats", labels: []string{"database"}, busiest: []string{"query_count", "xact_count"},
	columns: []column{
		stat("xact_count", "sql_transactions_pooled_total", "Transactions.", 1),
		stat("query_count", "queries_pooled_total", "Queries.", 1),
		stat("server_assignment_count", "server_assignments_total", "How often a client was given a server connection.", 1),
		stat("bytes_received", "received_bytes_total", "Bytes received from clients.", 1),
		stat("bytes_sent", "sent_bytes_total", "Bytes sent to clients.", 1),
		stat("xact_time", "server_in_transaction_seconds_total", "Time that server connections were in a transaction.", perMicrosecond),
		stat("query_time", "queries_duration_seconds_total", "Time that server connections ran queries.", perMicrosecond),
		stat("wait_time", "client_wait_seconds_total", "Time that clients waited for a server connection.", perMicrosecond),
		stat("client_parse_count", "client_parses_total", "Statements that clients prepared.", 1),
		stat("server_parse_count", "server_parses_total", "Statements that PgBouncer prepared on servers.", 1),
		stat("bind_count", "binds_total", "Executions of prepared statements.", 1),
	},
}

const perMicrosecond = 1e-6

func stat(from, to, help string, scale float64) column {
	return column{from: []string{from}, scale: scale, desc: declared.Counter("pgbouncer_stats_"+to, help, "database")}
}

// lists is one row for each kind of thing that PgBouncer has.
var lists = table{
	question: "SHOW LISTS", called: "lists", key: "list", value: "items",
	keys: map[string]*metric.Desc{
		"databases":     declared.Gauge("pgbouncer_databases", "Databases that PgBouncer knows, the console among them."),
		"users":         declared.Gauge("pgbouncer_users", "Users that PgBouncer knows."),
		"pools":         declared.Gauge("pgbouncer_pools", "Pools."),
		"free_clients":  declared.Gauge("pgbouncer_free_clients", "Places for clients that are allocated and free."),
		"used_clients":  UsedClients,
		"login_clients": declared.Gauge("pgbouncer_login_clients", "Clients that are logging in."),
		"free_servers":  declared.Gauge("pgbouncer_free_servers", "Places for server connections that are allocated and free."),
		"used_servers":  declared.Gauge("pgbouncer_used_servers", "Server connections."),
		"dns_names":     declared.Gauge("pgbouncer_cached_dns_names", "Names of hosts in PgBouncer's cache."),
		"dns_zones":     declared.Gauge("pgbouncer_cached_dns_zones", "DNS zones in PgBouncer's cache."),
		"dns_queries":   declared.Gauge("pgbouncer_in_flight_dns_queries", "Names of hosts that are being looked up."),
	},
}

// config is one row for each setting, of which two are of interest.
var config = table{
	question: "SHOW CONFIG", called: "config", key: "key", value: "value",
	keys: map[string]*metric.Desc{"max_client_conn": ConfigClients, "max_user_connections": ConfigUser},
}

// tables are asked in this order: if the console dies meanwhile, what matters most is there.
func tables() []table { return []table{pools, lists, config, databases, stats} }
