package globals_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/globals"
	"github.com/pg-reliability/pg_reliability_exporter/backup/properties"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestDatabasesArriveAsTheyWere is of what databases are, under names, settings, comments and grants of every kind.
func TestDatabasesArriveAsTheyWere(t *testing.T) {
	pgtest.EachVersion(t, pgtest.Options{NoMonitorRole: true}, func(t *testing.T, a *pgtest.Cluster) {
		conn := connect(t, a, "postgres")
		for _, name := range odd {
			do(t, conn, `CREATE ROLE %I`, name)
		}
		names := []string{`a"; --`, "x'; DROP ROLE select; --", "line\nbreak", `back\slash`, strings.Repeat("ü", 31) + "y", "select"}
		for i, name := range names {
			do(t, conn, `CREATE DATABASE %I TEMPLATE template0 OWNER %I ENCODING %L`, name, odd[i*3], []string{"UTF8", "LATIN1", "SQL_ASCII"}[i%3])
			do(t, conn, `COMMENT ON DATABASE %I IS %L`, name, strings.Join(odd[i:], "\n"))
			for n, value := range odd {
				do(t, conn, `ALTER DATABASE %I SET app.v`+strings.Repeat("x", n)+` TO %L`, name, value)
				if n%5 == i%5 {
					do(t, conn, `ALTER ROLE %I IN DATABASE %I SET search_path TO %L, %L, "$user"`, value, name, odd[i+1], odd[n/2])
					do(t, conn, `ALTER ROLE %I IN DATABASE %I SET application_name TO %L`, value, name, odd[(n+i)%len(odd)])
					do(t, conn, `GRANT CREATE ON DATABASE %I TO %I WITH GRANT OPTION`, name, value)
					do(t, conn, `SET ROLE %I`, value)
					do(t, conn, `GRANT CREATE ON DATABASE %I TO %I WITH GRANT OPTION`, name, odd[(n+1)%len(odd)])
					do(t, conn, `SET ROLE %I`, odd[(n+1)%len(odd)])
					do(t, conn, `GRANT CREATE ON DATABASE %I TO "select"`, name)
					do(t, conn, `RESET ROLE`)
				}
			}
			do(t, conn, `ALTER DATABASE %I SET search_path TO %L, %L`, name, odd[i*4], odd[i*4+1])
		}
		do(t, conn, `REVOKE ALL ON DATABASE %I FROM PUBLIC`, names[1])
		do(t, conn, `REVOKE ALL ON DATABASE %I FROM %I`, names[2], odd[6])
		do(t, conn, `ALTER DATABASE %I CONNECTION LIMIT 0`, names[3])
		do(t, conn, `CREATE DATABASE untouched`)
		do(t, conn, `CREATE DATABASE nobodys`)
		do(t, conn, `REVOKE ALL ON DATABASE nobodys FROM PUBLIC, postgres`)
		names = append(names, "untouched", "nobodys")
		for _, e := range queryAll(t, a, `SELECT i, pg_encoding_to_char(i) FROM generate_series(0, 60) i WHERE pg_encoding_to_char(i) <> ''
			AND pg_encoding_to_char(i) NOT IN ('SJIS', 'BIG5', 'GBK', 'UHC', 'GB18030', 'JOHAB', 'SHIFT_JIS_2004')`) {
			if !slices.Contains(catalog.Encodings(), e[1]) {
				t.Errorf("a manifest with encoding %s of this server would be refused", e[1])
			}
		}
		if a.Install.Major >= 16 {
			do(t, conn, `CREATE DATABASE icu TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de-u-co-phonebk' ICU_RULES %L`, "&a < 'b\\'")
			names = append(names, "icu")
		}
		if a.Install.Major >= 17 {
			do(t, conn, `CREATE DATABASE builtin TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'`)
			names = append(names, "builtin")
		}
		before := state(t, a)

		g, err := globals.Read(t.Context(), conn, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := pgtest.New(t, pgtest.Options{NoMonitorRole: true, Install: a.Install, Settings: map[string]string{"quote_all_identifiers": "on"}})
		to := connect(t, b, "postgres")
		if notes, err := g.Restore(t.Context(), to, globals.Options{WholeServer: true}); err != nil || len(notes) > 0 {
			t.Fatalf("restore the roles: %v, notes %q", err, notes)
		}
		for _, name := range names {
			db, _, err := server.Properties(t.Context(), conn, name, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := properties.Create(t.Context(), to, name, db, false); err != nil {
				t.Fatal(err)
			}
			for range 2 { // twice is as once
				if notes, err := properties.Apply(t.Context(), to, name, db); err != nil || len(notes) > 0 {
					t.Fatalf("properties of %q: %v, notes %q", name, err, notes)
				}
			}
		}
		if d := differences(before, state(t, b)); len(d) > 0 {
			t.Errorf("%d differences:\n%s", len(d), strings.Join(d, "\n"))
		}
	})
}
