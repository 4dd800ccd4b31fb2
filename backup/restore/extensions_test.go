package restore_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// An archive makes extensions in the version that the server has as its default: that it is another one is said before and after,
// with what would keep the old one, and nothing is refused for it.
func TestAnExtensionOfAnotherVersionIsSaid(t *testing.T) {
	t.Parallel()
	b := newServer(t, pgtest.Options{})
	b.exec(t, "postgres", "CREATE DATABASE shop")
	b.exec(t, "shop", "CREATE EXTENSION hstore VERSION '1.5'", "CREATE EXTENSION citext", "CREATE EXTENSION pg_trgm",
		// What a server with a newer package has.
		"UPDATE pg_extension SET extversion = '97.1' WHERE extname = 'citext'",
		"CREATE TABLE t AS SELECT 'a => 1'::hstore AS h, 'x'::citext AS c")
	backup := b.verified(t)
	says := func(what string, warnings []string) {
		t.Helper()
		all := strings.Join(warnings, "\n")
		for _, part := range []string{
			"extension hstore of database shop is version 1.5 in the backup and comes back as 1.",
			"set default_version = '1.5' in hstore.control",
			"extension citext of database shop is version 97.1 in the backup",
			"version 97.1 is not available on the server",
		} {
			if !strings.Contains(all, part) {
				t.Errorf("%s: warnings %q lack %q", what, warnings, part)
			}
		}
		if strings.Contains(all, "pg_trgm") || strings.Contains(all, "plpgsql") {
			t.Errorf("%s: warnings %q name an extension that comes back as it was", what, warnings)
		}
	}
	r := b.restorer(t, b.pg)
	o := restore.Options{Backup: backup, Database: "shop"}
	plan, err := r.Plan(t.Context(), o)
	if err != nil || plan.Refusal != "" {
		t.Fatalf("plan: %+v, %v", plan, err)
	}
	says("plan", plan.Warnings)
	rep, err := r.Restore(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	says("restore", rep.Warnings)
	sql := "SELECT bool_and(extversion = default_version) FROM pg_extension JOIN pg_available_extensions ON name = extname"
	if got := query(t, b.pg, "shop", sql); got != "true" {
		t.Error("the warnings say that the extensions have the server's versions, and they have not")
	}
	fresh := b.restorer(t, pgtest.New(t, pgtest.Options{NoMonitorRole: true}))
	for _, dry := range []bool{true, false} {
		out, err := fresh.Bootstrap(t.Context(), restore.BootstrapOptions{DryRun: dry})
		if err != nil {
			t.Fatal(err)
		}
		says("bootstrap", out.Warnings)
	}
	// One that is not there at all is found by the plan, too.
	shop := slices.IndexFunc(backup.Manifest.Databases, func(d catalog.Database) bool { return d.Name == "shop" })
	backup.Manifest.Databases[shop].Contents.Extensions[0].Name = "nobody_has_it"
	if plan, err = r.Plan(t.Context(), o); err != nil || failure.Of(plan.Refused()) != failure.Version {
		t.Errorf("plan with an extension that is not installed: %+v, %v", plan, err)
	}
}
