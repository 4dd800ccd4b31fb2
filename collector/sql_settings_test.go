package collector

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// Any change is seen, of a string, too; what other roles and our own session set is none.
func TestAChangedSettingChangesTheHash(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{Settings: map[string]string{"fsync": "on"}}, func(t *testing.T, c *pgtest.Cluster) {
		ctx := t.Context()
		const hash, other = "pg_reliability_settings_hash", "pg_reliability_settings_not_default"
		first := ask(t, c, "postgres", "settings_summary")
		has(t, first, map[string]float64{
			`pg_reliability_setting_unsafe|setting="fsync"`: 0, `pg_reliability_setting_unsafe|setting="autovacuum"`: 0,
		})
		must(t, c.Exec(ctx, "ALTER ROLE "+pgtest.Superuser+" SET work_mem = '5MB'"))
		if again := ask(t, c, "postgres", "settings_summary"); again[hash] != first[hash] || again[other] != first[other] {
			t.Errorf("nothing of the server's changed, and %v became %v", first, again)
		}
		must(t, c.Configure(map[string]string{"log_line_prefix": "'changed %m '", "autovacuum": "off"}))
		must(t, c.Reload())
		pgtest.Eventually(t, 10*time.Second, func() error {
			return expect(ctx, c, map[string]string{"SELECT current_setting('autovacuum')": "off"})
		})
		got := ask(t, c, "postgres", "settings_summary")
		has(t, got, map[string]float64{`pg_reliability_setting_unsafe|setting="autovacuum"`: 1})
		if got[hash] == first[hash] || got[other] <= first[other] {
			t.Errorf("two settings changed: %v, then %v", first, got)
		}
	})
}

// What only superusers see by themselves is seen by those they allow, and costs the others nothing else.
func TestMistakesInTheFilesAreSeenWhereAllowed(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		ctx := t.Context()
		if got := ask(t, c, "postgres", "settings_files"); len(got) != 0 {
			t.Errorf("with pg_monitor alone: %v", got)
		}
		must(t, c.Exec(ctx, "GRANT EXECUTE ON FUNCTION pg_show_all_file_settings() TO "+pgtest.Monitor))
		has(t, ask(t, c, "postgres", "settings_files"), map[string]float64{
			"pg_reliability_settings_file_errors": 0, "pg_reliability_hba_errors": -1, "pg_reliability_hba_trust_rules": -1,
		})
		must(t, c.Exec(ctx, "GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO "+pgtest.Monitor))
		before := ask(t, c, "postgres", "settings_files")
		has(t, before, map[string]float64{"pg_reliability_hba_errors": 0})
		dir, err := c.Query(ctx, "postgres", "current_setting('data_directory')")
		must(t, err)
		add := func(file, text string) {
			f, err := os.OpenFile(filepath.Join(dir, file), os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString(text)
			must(t, err)
			must(t, f.Close())
		}
		add("pg_hba.conf", "host all all 192.0.2.0/24 trust\nhost all all 192.0.2.0/24 md5\nhost all nonsense\n")
		add("postgresql.conf", "work_mem = 'much'\n")
		got := ask(t, c, "postgres", "settings_files")
		for name, more := range map[string]float64{"settings_file_errors": 1, "hba_errors": 1, "hba_trust_rules": 1, "hba_trust_network_rules": 1,
			"hba_weak_rules": 1} {
			if name = "pg_reliability_" + name; got[name]-before[name] != more {
				t.Errorf("%s: %v became %v, want %v more", name, before[name], got[name], more)
			}
		}
	})
}

func TestSecurityOfRolesAndSessions(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		ctx := t.Context()
		has(t, ask(t, c, "postgres", "role_security"), map[string]float64{"pg_reliability_superusers_login": 1,
			"pg_reliability_md5_passwords": -1})
		must(t, c.Exec(ctx, "SET password_encryption = 'md5'", "CREATE ROLE second LOGIN SUPERUSER", "CREATE ROLE asleep SUPERUSER",
			"CREATE ROLE copies LOGIN REPLICATION", "CREATE ROLE sees LOGIN BYPASSRLS",
			"CREATE ROLE old LOGIN PASSWORD 'md5c5e4c98dbb3ab4ab1e2e4a0aa1c7bd5a'",
			"GRANT SELECT (rolname, rolpassword) ON pg_authid TO "+pgtest.Monitor))
		has(t, ask(t, c, "postgres", "role_security"), map[string]float64{
			"pg_reliability_superusers_login": 2, "pg_reliability_replication_roles_login": 1, "pg_reliability_bypassrls_roles_login": 1,
			"pg_reliability_md5_passwords": 1,
		})
		// The exporter's own session here is one from this machine, without TLS. Those of the questions before may still be ending.
		pgtest.Eventually(t, 10*time.Second, func() error {
			got := ask(t, c, "postgres", "sessions_tls")
			none, plain := got[`pg_reliability_tls_sessions|version="none"|cipher="none"`], got["pg_reliability_plain_sessions"]
			if none != 1 || plain != 0 {
				return fmt.Errorf("%v sessions without TLS, want 1, %v of them plain, want 0", none, plain)
			}
			return nil
		})
	})
}

// The server here is behind or up to date, or the list is too old to say; an extension that was not updated is seen.
func TestWhatIsBehind(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{Settings: map[string]string{"shared_preload_libraries": "'pg_stat_statements'"}},
		func(t *testing.T, c *pgtest.Cluster) {
			ctx := t.Context()
			newest := map[int]float64{13: 23, 14: 24, 15: 20, 16: 15, 17: 12, 18: 6}[c.Install.Major]
			day := map[int]string{15: "2026-11-12", 17: "2026-11-12"}[c.Install.Major]
			version, err := c.Query(ctx, "postgres", "(current_setting('server_version_num')::int % 10000)::text || (now() < '"+
				cmp.Or(day, "2026-08-13")+" UTC'::timestamptz + interval '100 days')")
			must(t, err)
			minor, young := strings.CutSuffix(version, "true")
			minor = strings.TrimSuffix(minor, "false")
			got := ask(t, c, "postgres", "minor_release")
			behind, known := got["pg_reliability_minor_releases_behind"]
			switch is := float(t, minor); {
			case newest == 0:
				has(t, got, map[string]float64{"pg_reliability_minor_releases_behind": -1})
			case is < newest:
				has(t, got, map[string]float64{"pg_reliability_minor_releases_behind": newest - is})
			case known != (young || c.Install.Major == 13) || behind != 0:
				t.Errorf("%s of %v: %v, %v", minor, newest, behind, known)
			}

			outdated := func(name, installed, newest string) string {
				return `pg_reliability_extension_outdated|datname="postgres"|name="` + name + `"|installed_version="` + installed +
					`"|default_version="` + newest + `"`
			}
			must(t, c.Exec(ctx, "CREATE EXTENSION pg_stat_statements VERSION '1.7'"))
			found, err := c.Query(ctx, "postgres", "SELECT default_version FROM pg_available_extensions WHERE name = 'pg_stat_statements'")
			must(t, err)
			has(t, ask(t, c, "postgres", "extensions"), map[string]float64{outdated("pg_stat_statements", "1.7", found): 1,
				outdated("plpgsql", "1.0", "1.0"): 0})
			must(t, c.Exec(ctx, "ALTER EXTENSION pg_stat_statements UPDATE"))
			has(t, ask(t, c, "postgres", "extensions"), map[string]float64{outdated("pg_stat_statements", found, found): 0})
		})
}

func float(t *testing.T, text string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(text, 64)
	must(t, err)
	return v
}
