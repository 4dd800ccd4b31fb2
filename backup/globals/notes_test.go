package globals_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/globals"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestWhatAServerHasStays: a restore into a server that lives makes what it lacks, and touches nothing else.
func TestWhatAServerHasStays(t *testing.T) {
	a := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	b := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	from, to := connect(t, a, "postgres"), connect(t, b, "postgres")
	for _, s := range []string{
		`CREATE ROLE app SUPERUSER PASSWORD 'of the backup' CONNECTION LIMIT 3`, `COMMENT ON ROLE app IS 'of the backup'`,
		`ALTER ROLE app SET work_mem = '1MB'`,
		`CREATE ROLE team`, `CREATE ROLE boss`, `GRANT team TO app WITH ADMIN OPTION`, `GRANT boss TO app`, `GRANT app TO postgres`,
		`CREATE ROLE new LOGIN`,
		`ALTER ROLE ALL SET app.everybody = 'of the backup'`,
	} {
		do(t, from, s)
	}
	came := []string{"membership team | app | postgres", "role new"}
	if a.Install.Major >= 15 {
		do(t, from, `GRANT SET ON PARAMETER zero_damaged_pages TO app, new, PUBLIC`)
		came = append(came, "parameter zero_damaged_pages")
	}
	for _, s := range []string{
		`CREATE ROLE app LOGIN PASSWORD 'its own'`, `COMMENT ON ROLE app IS 'its own'`, `CREATE ROLE team`, `CREATE ROLE boss`,
		`GRANT boss TO app WITH ADMIN OPTION`,
	} {
		do(t, to, s)
	}
	want := state(t, b)
	g, err := globals.Read(t.Context(), from, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if notes, err := g.Restore(t.Context(), to, globals.Options{}); err != nil || len(notes) > 0 {
			t.Fatalf("restore: %v, notes %q", err, notes)
		}
	}
	got := state(t, b)
	for _, k := range came {
		if want[k] = got[k]; want[k] == "" {
			t.Errorf("%s did not come", k)
		}
	}
	if d := differences(want, got); len(d) > 0 {
		t.Errorf("what else changed: %q", d)
	}
	if acl := got["parameter zero_damaged_pages"]; a.Install.Major >= 15 && (strings.Contains(acl, "app=") || strings.Contains(acl, "{=") ||
		!strings.Contains(acl, "new=s")) {
		t.Errorf("privileges on the parameter: %s", acl)
	}
}

// TestWhatCantBeRestoredIsNamed and stops nothing.
func TestWhatCantBeRestoredIsNamed(t *testing.T) {
	a := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	conn := connect(t, a, "postgres")
	do(t, conn, `CREATE ROLE labelled`)
	// No provider of labels is at hand: the rows are as one would write them.
	do(t, conn, `INSERT INTO pg_shseclabel VALUES ('labelled'::regrole, 'pg_authid'::regclass, %L, %L)`, `pro"vider`, "la'bel\n\\")
	g, err := globals.Read(t.Context(), conn, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l := g.Roles[0].Labels; len(l) != 1 || l[0] != (catalog.Label{Provider: `pro"vider`, Label: "la'bel\n\\"}) {
		t.Errorf("labels %q", l)
	}
	g.Roles = append(g.Roles, catalog.Role{Name: "bad", ValidUntil: "yesterdayish", Login: true, ConnectionLimit: -1, CreateRole: true},
		catalog.Role{Name: "latin\uF7E9", Login: true, ConnectionLimit: -1}) // as sqltext.Text writes a byte that is no UTF-8
	g.Passwords["bad"] = "md5ffffffffffffffffffffffffffffffff"
	g.Memberships = append(g.Memberships, catalog.Membership{Role: "pg_of_the_future", Member: "bad"})
	for _, s := range [][2]string{{"setting_of_the_past", "1"}, {"work_mem", "-7"}, {"local_preload_libraries", `"no end`},
		{"session_preload_libraries", ""}} {
		g.Settings = append(g.Settings, catalog.Setting{Role: "bad", Name: s[0], Value: s[1]})
	}
	g.Parameters = append(g.Parameters,
		catalog.ParameterGrant{Parameter: "work_mem", Grant: catalog.Grant{Grantee: "bad", Privilege: "ALL; --"}})

	b := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	notes, err := g.Restore(t.Context(), connect(t, b, "postgres"), globals.Options{WholeServer: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`the security label of "pro\"vider" on role "labelled"`, `role "bad" is without VALID UNTIL`, `role "bad" may not log in`,
		`role "latin\uf7e9"`, `"pg_of_the_future"`,
		`"setting_of_the_past"`, `"work_mem"`, `"local_preload_libraries"`, `"session_preload_libraries"`, `"ALL; --"`,
	} {
		if n := len(slices.DeleteFunc(slices.Clone(notes), func(s string) bool { return !strings.Contains(s, want) })); n == 0 {
			t.Errorf("no note names %s", want)
		}
	}
	if len(notes) != 10 || strings.Contains(strings.Join(notes, ""), "md5ff") {
		t.Errorf("%d notes: %q", len(notes), notes)
	}
	if got := state(t, b)["role bad"]; !strings.Contains(got, `"rolcanlogin": false`) || !strings.Contains(got, "md5ff") ||
		!strings.Contains(got, `"rolcreaterole": true`) {
		t.Errorf("role bad is %s", got)
	}

	// A role that may make roles, and no superuser, makes those it can.
	do(t, connect(t, b, "postgres"), `CREATE ROLE maker LOGIN CREATEROLE PASSWORD %L`, pgtest.Password)
	maker := connectAs(t, b, "maker")
	g = &globals.Globals{ServerObjects: catalog.ServerObjects{
		Roles: []catalog.Role{{Name: "boss", Superuser: true, Login: true, ConnectionLimit: -1},
			{Name: "clerk", Inherit: true, ConnectionLimit: 2}},
		Memberships: []catalog.Membership{{Role: "clerk", Member: "boss", Grantor: "postgres"}},
		Settings:    []catalog.Setting{{Role: "clerk", Name: "work_mem", Value: "1MB"}},
	}}
	notes, err = g.Restore(t.Context(), maker, globals.Options{})
	if err != nil || len(notes) != 1 || !strings.Contains(notes[0], `role "boss" is without SUPERUSER`) {
		t.Errorf("by a role with CREATEROLE: %v, notes %q", err, notes)
	}
}
