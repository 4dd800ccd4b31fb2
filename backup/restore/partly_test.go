package restore_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/backup/verify"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestOneBrokenDatabaseCostsNoOther: a table whose rows fail its own constraint can't be loaded, and its database's owner can make one so.
// The backup was damaged then, and with it each of all nights: nothing of it could be restored, and none was ever pruned.
func TestOneBrokenDatabaseCostsNoOther(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.job.Verify = true
	b.exec(t, "postgres", "CREATE DATABASE orders")
	b.exec(t, "orders", "CREATE FUNCTION ok(int) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
		"CREATE TABLE t (i int CHECK (ok(i)))", "INSERT INTO t SELECT generate_series(1, 10)", "GRANT SELECT ON t TO PUBLIC")
	run := func(want failure.Reason) catalog.Backup {
		t.Helper()
		res, err := b.job.Run(t.Context())
		if failure.Of(err) != want || res.Backup == nil {
			t.Fatalf("run: %v, want reason %q", err, want)
		}
		return *res.Backup
	}
	older := run("")
	b.exec(t, "orders", "INSERT INTO t VALUES (11)", "CREATE OR REPLACE FUNCTION ok(int) RETURNS boolean LANGUAGE sql AS 'SELECT false'")
	newest := run(failure.Incomplete)
	isPartly := func(got catalog.Backup) {
		t.Helper()
		_, orders := got.Manifest.Database("orders")
		_, shop := got.Manifest.Database("shop")
		_, written := got.AsWritten().Manifest.Database("orders")
		if got.Health != catalog.Verified || orders || !shop || !written || !got.Manifest.Incomplete || !got.Manifest.Lacks("orders") {
			t.Errorf("it is %s, with orders %v, shop %v, as written %v: %s", got.Health, orders, shop, written, got.Problem)
		}
	}
	isPartly(newest)
	if state, err := b.repo.State(); err != nil || !slices.Contains(state.Verifications, catalog.Count{
		Result: catalog.Failing, Reason: failure.Verify, N: 1}) {
		t.Errorf("counted is %+v, %v", state.Verifications, err)
	}
	brief, err := b.repo.Brief()
	if err != nil {
		t.Fatal(err)
	}
	isPartly(brief[0])
	for range 2 { // another look finds the same, and forgets nothing
		v, err := b.job.Verifier.Verify(t.Context(), newest.ID, verify.Rehearsal)
		var partly *catalog.PartlyError
		if !errors.As(err, &partly) || !slices.Equal(partly.Databases, []string{"orders"}) || v.Result != catalog.Failed || v.Rows == 0 {
			t.Errorf("verified again: %+v, %v", v, err)
		}
		if again, err := b.repo.Get(newest.ID); err != nil {
			t.Error(err)
		} else {
			isPartly(again)
		}
	}

	fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	out, err := b.restorer(t, fresh).Bootstrap(t.Context(), restore.BootstrapOptions{})
	if err != nil || out.Backup != newest.ID || !maps.Equal(out.From, map[string]string{"orders": older.ID}) {
		t.Errorf("bootstrap: %+v, %v", out, err)
	}
	if got := query(t, fresh, "orders", "SELECT count(*) FROM t"); got != "10" {
		t.Errorf("orders has %s rows", got)
	}
	if got := query(t, fresh, "shop", "SELECT count(*) FROM customer"); got != "1000" {
		t.Errorf("shop has %s customers", got)
	}

	// Where nothing that holds anything comes back, all of it is damaged.
	b.exec(t, "shop", "CREATE FUNCTION ok(int) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
		"CREATE TABLE u (i int CHECK (ok(i)))", "INSERT INTO u VALUES (1)", "GRANT SELECT ON u TO PUBLIC",
		"CREATE OR REPLACE FUNCTION ok(int) RETURNS boolean LANGUAGE sql AS 'SELECT false'")
	if got := run(failure.Verify); got.Health != catalog.Damaged || !strings.Contains(got.Problem, "check constraint") {
		t.Errorf("with nothing left it is %s: %s", got.Health, got.Problem)
	}
	b.exec(t, "shop", "DROP TABLE u")
	b.exec(t, "orders", "CREATE OR REPLACE FUNCTION ok(int) RETURNS boolean LANGUAGE sql AS 'SELECT true'")
	mended := run("")
	db, _ := mended.Manifest.Database("orders")
	if mended.Health != catalog.Verified || db.Contents.Rows() != 11 || mended.Manifest.Incomplete {
		t.Errorf("mended, it is %s, orders has %d rows", mended.Health, db.Contents.Rows())
	}
}
