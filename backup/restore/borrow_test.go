package restore_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// incomplete makes a backup of which the run says that it lacks something.
func (b *bench) incomplete(t *testing.T) catalog.Backup {
	t.Helper()
	res, err := b.job.Run(t.Context())
	if failure.Of(err) != failure.Incomplete {
		t.Fatalf("run: %v, want it incomplete", err)
	}
	return *res.Backup
}

// What the newest backup could not dump is in an older one: an empty server gets it from there.
func TestBootstrapTakesFromOlderBackupsWhatTheNewestLacks(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.exec(t, "postgres", "CREATE ROLE bookkeeper", "CREATE DATABASE orders OWNER bookkeeper", "CREATE DATABASE never")
	b.exec(t, "orders", "CREATE TABLE t AS SELECT generate_series(1, 10) AS i", "ALTER TABLE t OWNER TO bookkeeper")
	b.exec(t, "never", "REVOKE CONNECT ON DATABASE never FROM PUBLIC")
	oldest := b.incomplete(t)
	b.exec(t, "orders", "INSERT INTO t VALUES (11)")
	older := b.incomplete(t)
	b.exec(t, "postgres", "REVOKE CONNECT ON DATABASE orders FROM PUBLIC")
	b.exec(t, "orders", "INSERT INTO t VALUES (12)")
	newest := b.incomplete(t)
	if _, held := newest.Manifest.Database("orders"); held {
		t.Fatal("the newest backup has orders")
	}

	rows := func(t *testing.T, pg *pgtest.Cluster) string {
		t.Helper()
		return query(t, pg, "orders", "SELECT count(*)::text || ' of ' || max(pg_get_userbyid(relowner)) FROM t, pg_class WHERE relname = 't'")
	}
	check := func(t *testing.T, from catalog.Backup, want string) {
		t.Helper()
		fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
		if err := fresh.Exec(t.Context(), "CREATE DATABASE orders"); err != nil {
			t.Fatal(err)
		}
		r := b.restorer(t, fresh)
		for _, dry := range []bool{true, false} {
			out, err := r.Bootstrap(t.Context(), restore.BootstrapOptions{DryRun: dry})
			if err != nil || out.Result != restore.Restored || out.Backup != newest.ID {
				t.Fatalf("dry run %v: %+v, %v", dry, out, err)
			}
			if dry && from.ID != older.ID { // it reads no archive
				continue
			}
			if !maps.Equal(out.From, map[string]string{"orders": from.ID}) || !slices.Contains(out.Databases, "orders") {
				t.Errorf("dry run %v: databases %v, from %v", dry, out.Databases, out.From)
			}
			if w := strings.Join(out.Warnings, "\n"); !strings.Contains(w, "database orders is from ANOTHER backup, "+from.ID) {
				t.Errorf("dry run %v: warnings %s", dry, w)
			}
			if l := strings.Join(out.Lacks, "\n"); strings.Contains(l, "orders") || !strings.Contains(l, "database never") {
				t.Errorf("dry run %v: lacks %s", dry, l)
			}
		}
		if got := rows(t, fresh); got != want {
			t.Errorf("orders has %s, want %s", got, want)
		}
		if got := query(t, fresh, "shop", "SELECT count(*) FROM customer"); got != "1000" {
			t.Errorf("shop has %s customers", got)
		}
		if got := query(t, fresh, "postgres",
			"SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname !~ '_before_'"); got !=
			"orders postgres shop template0 template1" {
			t.Errorf("databases = %s", got)
		}
	}
	t.Run("the newest that has it", func(t *testing.T) { check(t, older, "11 of bookkeeper") })
	t.Run("its archive is damaged", func(t *testing.T) {
		db, _ := older.Manifest.Database("orders")
		path := filepath.Join(older.Dir, filepath.FromSlash(db.Path))
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		check(t, oldest, "10 of bookkeeper")
	})
	t.Run("it is gone for good", func(t *testing.T) {
		if err := b.repo.UpdateServers(t.Context(), func(s *catalog.Servers) {
			s.LetGo(s.KindOf(newest.Manifest), []string{"orders"}, newest.Sequence, time.Now())
		}); err != nil {
			t.Fatal(err)
		}
		fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
		out, err := b.restorer(t, fresh).Bootstrap(t.Context(), restore.BootstrapOptions{})
		if err != nil || len(out.From) > 0 || slices.Contains(out.Databases, "orders") ||
			!strings.Contains(strings.Join(out.Lacks, "\n"), "orders") {
			t.Errorf("%+v, %v", out, err)
		}
	})
}

// One repository may hold backups of several choices of databases. An empty server gets all that its server had, and not only what the
// newest choice has; so does one whose newest backup came before a database did.
func TestBootstrapTakesFromOtherChoicesOfDatabases(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.exec(t, "postgres", "CREATE DATABASE orders", "CREATE DATABASE logs", "CREATE DATABASE frozen")
	for _, name := range []string{"orders", "logs", "frozen"} {
		b.exec(t, name, "CREATE TABLE t AS SELECT generate_series(1, 10) AS i")
	}
	all := b.verified(t)
	b.exec(t, "postgres", "ALTER DATABASE frozen ALLOW_CONNECTIONS false")
	b.job.Request.Databases = server.Selection{Except: []string{"logs"}}
	except := b.run(t)
	b.exec(t, "postgres", "CREATE DATABASE young")
	b.exec(t, "young", "CREATE TABLE t AS SELECT generate_series(1, 10) AS i")
	b.job.Request.Databases = server.Selection{}
	young := b.run(t)
	b.job.Request.Databases = server.Selection{Only: []string{"orders"}}
	b.exec(t, "orders", "INSERT INTO t VALUES (11)")
	only := b.verified(t)

	want := map[string]string{"shop": all.ID, "logs": all.ID, "frozen": all.ID, "young": young.ID}
	fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	for _, dry := range []bool{true, false} {
		out, err := b.restorer(t, fresh).Bootstrap(t.Context(), restore.BootstrapOptions{DryRun: dry})
		if err != nil || out.Backup != only.ID || !maps.Equal(out.From, want) {
			t.Fatalf("dry run %v: %+v, %v, want from %v", dry, out, err, want)
		}
		if len(out.Lacks) > 0 {
			t.Errorf("dry run %v: lacks %v", dry, out.Lacks)
		}
	}
	for name, rows := range map[string]string{"orders": "11", "logs": "10", "frozen": "10", "young": "10"} {
		if got := query(t, fresh, name, "SELECT count(*) FROM t"); got != rows {
			t.Errorf("%s has %s rows, want %s", name, got, rows)
		}
	}
	t.Run("gone for good", func(t *testing.T) {
		if err := b.repo.UpdateServers(t.Context(), func(s *catalog.Servers) {
			s.LetGo(s.KindOf(except.Manifest), []string{"logs"}, only.Sequence, time.Now())
		}); err != nil {
			t.Fatal(err)
		}
		out, err := b.restorer(t, pgtest.New(t, pgtest.Options{NoMonitorRole: true})).Bootstrap(t.Context(),
			restore.BootstrapOptions{DryRun: true})
		if err != nil || out.From["logs"] != "" || out.From["shop"] == "" {
			t.Errorf("%+v, %v", out, err)
		}
	})
}
