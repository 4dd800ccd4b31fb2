package collector

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// Statements of roles and databases that a user does not want are neither shown nor counted, and there are no more of them than he wants.
func TestStatementsThatAreHiddenAndHowManyThereAre(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"shared_preload_libraries": "'pg_stat_statements'"}})
	ctx := t.Context()
	must(t, c.Exec(ctx, "CREATE EXTENSION pg_stat_statements", "CREATE DATABASE audit_1", "CREATE ROLE backup_nightly LOGIN SUPERUSER"))
	must(t, c.ExecIn(ctx, "audit_1", "SELECT 1, 2, 3 AS in_audit"))
	conn, err := pgx.Connect(ctx, c.SocketDSN("backup_nightly", "postgres"))
	must(t, err)
	_, err = conn.Exec(ctx, "SELECT 1, 2, 3, 4 AS by_backup")
	must(t, err)
	must(t, conn.Close(ctx))
	must(t, c.Exec(ctx, "SELECT 1 AS kept", "SELECT 1 AS a, 2 AS kept"))

	seen := func(h definition.Hidden, top int) (series string, got map[string]float64) {
		all := embeddedDefinitions(t)
		must(t, definition.SetTops(all, map[string]int{"statements": top}))
		definition.Hide(all, h)
		both := append(only(all, "statements"), only(all, "statements_text")...)
		got = runAll(t, c, "postgres", both, definition.RolePrimary, map[string]bool{})
		for name := range got {
			series += name + "\n"
		}
		return series, got
	}
	everything, _ := seen(definition.Hidden{}, 50)
	for _, want := range []string{`datname="audit_1"`, `user="backup_nightly"`, "by_backup", "in_audit", "AS kept"} {
		if !strings.Contains(everything, want) {
			t.Errorf("without filters there is no %s", want)
		}
	}
	filtered, got := seen(definition.Hidden{Users: []string{"backup_*"}, Databases: []string{"audit_?"}}, 50)
	for _, unwanted := range []string{"audit", "backup"} {
		if strings.Contains(filtered, unwanted) {
			t.Errorf("%s is there:\n%s", unwanted, filtered)
		}
	}
	if !strings.Contains(filtered, "AS kept") || got["pg_reliability_statements_omitted"] != 0 {
		t.Errorf("what is left: %s", filtered)
	}
	two, got := seen(definition.Hidden{}, 2)
	n := strings.Count(two, "pg_stat_statements_calls_total")
	if n != 2 || got["pg_reliability_statements_omitted"] != got["pg_reliability_statements"]-2 {
		t.Errorf("%d statements, %v omitted of %v", n, got["pg_reliability_statements_omitted"], got["pg_reliability_statements"])
	}
	if n := strings.Count(two, "pg_stat_statements_query_id"); n != 2 {
		t.Errorf("%d texts", n)
	}
}

// On a calm server the exporter's own statements take the most time: others are shown all the same, with their texts.
func TestOwnStatementsLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"shared_preload_libraries": "'pg_stat_statements'"}})
	ctx := t.Context()
	must(t, c.Exec(ctx, "CREATE EXTENSION pg_stat_statements"))
	conn := connectMonitor(t, c, "postgres")
	defer func() { _ = conn.Close(ctx) }()
	var own string
	must(t, conn.QueryRow(ctx, "SELECT current_user").Scan(&own))
	columns := "1"
	for range 30 { // each takes longer than all that another does
		columns += ", 1"
		_, err := conn.Exec(ctx, "SELECT "+columns+" FROM pg_sleep(0.02)")
		must(t, err)
	}
	must(t, c.Exec(ctx, "SELECT relname AS of_another FROM pg_class"))
	all := embeddedDefinitions(t)
	must(t, definition.SetTops(all, map[string]int{"statements": 10}))
	definition.Hide(all, definition.Hidden{})
	got := runAll(t, c, "postgres", append(only(all, "statements"), only(all, "statements_text")...), definition.RolePrimary,
		map[string]bool{})
	ours, others, text := 0, 0, false
	for series := range got {
		if strings.HasPrefix(series, "pg_stat_statements_calls_total") {
			if strings.Contains(series, `user="`+own+`"`) {
				ours++
			} else {
				others++
			}
		}
		text = text || strings.Contains(series, "AS of_another")
	}
	if ours < 2 || others == 0 || ours+others != 10 {
		t.Errorf("%d own statements and %d of others, want 10 with some of each", ours, others)
	}
	if !text {
		t.Error("the text of another's statement is missing")
	}
}
