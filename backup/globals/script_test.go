package globals_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/globals"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestAScriptOfPgDumpallGivesTheSameRoles is how backups of format 1 come back, with all that a catalogue can hold.
func TestAScriptOfPgDumpallGivesTheSameRoles(t *testing.T) {
	for _, standard := range []string{"on", "off"} {
		a := pgtest.New(t, pgtest.Options{NoMonitorRole: true, Settings: map[string]string{"standard_conforming_strings": standard}})
		fill(t, a)
		out, err := exec.Command(a.Install.Bin("pg_dumpall"), "--roles-only", "--dbname="+a.DSN(pgtest.Superuser, "postgres")).Output()
		if err != nil {
			t.Fatal(err)
		}
		if e := globals.ScriptEncoding(string(out)); e != "UTF8" {
			t.Errorf("the script's encoding is %q", e)
		}
		g := globals.FromScript(string(out))
		if len(g.Notes) > 0 {
			t.Fatalf("notes %q", g.Notes)
		}
		b := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
		if notes, err := g.Restore(t.Context(), connect(t, b, "postgres"), globals.Options{WholeServer: true}); err != nil || len(notes) > 0 {
			t.Fatalf("restore: %v, notes %q", err, notes)
		}
		want := state(t, a)
		delete(want, "setting everybody") // pg_dumpall has none of ALTER ROLE ALL
		if d := differences(want, state(t, b)); len(d) > 0 {
			t.Errorf("standard_conforming_strings %s: %d differences:\n%s", standard, len(d), strings.Join(d, "\n"))
		}
	}
}

// TestWhatPgDumpallDoesNotWriteIsNamedAndLeftOut: a script is not executed, so that nothing in it can be.
func TestWhatPgDumpallDoesNotWriteIsNamedAndLeftOut(t *testing.T) {
	for script, want := range map[string]struct{ roles, notes int }{
		"CREATE ROLE a;\nALTER ROLE a WITH NOLOGIN;":                                {1, 0},
		"CREATE ROLE a SUPERUSER;":                                                  {0, 1},
		"CREATE ROLE a;\nCREATE ROLE a;":                                            {1, 1},
		"CREATE ROLE a;\nALTER ROLE b WITH SUPERUSER;":                              {1, 1},
		"CREATE ROLE a;\nALTER ROLE a WITH SUPERUSER x;":                            {1, 1},
		"CREATE ROLE a;\nALTER ROLE a WITH SUPERUSER CONNECTION LIMIT 'x';":         {1, 1},
		"CREATE ROLE a;\nALTER ROLE a SET search_path TO (SELECT 1);":               {1, 1},
		"CREATE ROLE a;\nALTER ROLE a SET x TO 'a', 'b';":                           {1, 1},
		"CREATE ROLE a;\nCOPY (SELECT 1) TO PROGRAM 'id';\nCREATE ROLE b;":          {2, 1},
		"CREATE ROLE a;\n\\! id\nCREATE ROLE b;":                                    {1, 1}, // nothing behind it can be told apart
		"CREATE ROLE a;\nCOMMENT ON ROLE a IS 'x;\nCREATE ROLE b; ":                 {1, 1},
		"SET session_preload_libraries = 'x';\nCREATE ROLE a;":                      {1, 1},
		"CREATE ROLE a;\nGRANT a TO a WITH ADMIN OPTION GRANTED BY a, b;":           {1, 1},
		"CREATE ROLE a; /* x; */ -- CREATE ROLE b;\n COMMENT ON ROLE a IS $x$;$x$;": {1, 0},
	} {
		g := globals.FromScript(script)
		if len(g.Roles) != want.roles || len(g.Notes) != want.notes {
			t.Errorf("%q: %d roles, notes %q, want %d and %d", script, len(g.Roles), g.Notes, want.roles, want.notes)
		}
		for _, r := range g.Roles {
			if r.Superuser {
				t.Errorf("%q made a superuser", script)
			}
		}
	}
}

// FuzzScript: whatever a name, a setting and a comment say, the script says that, and no more.
func FuzzScript(f *testing.F) {
	for _, s := range odd {
		f.Add(s, s, true)
	}
	f.Fuzz(func(t *testing.T, name, value string, standard bool) {
		if name == "" || strings.IndexByte(name+value, 0) >= 0 {
			t.Skip("no server has these")
		}
		if sqltext.Text(name) != name || sqltext.Text(value) != value {
			t.Skip("names that are not UTF-8 are written as Text writes them, which has a target of its own")
		}
		q, v := sqltext.Ident(name), sqltext.Literal(value)
		script := "CREATE ROLE " + q + ";\nALTER ROLE " + q + " WITH NOSUPERUSER LOGIN PASSWORD " + v + ";\nALTER ROLE " + q + " SET x TO " + v +
			";\nCOMMENT ON ROLE " + q + " IS " + v + ";\nGRANT " + q + " TO x GRANTED BY " + q + ";\n"
		if !standard {
			script = "SET standard_conforming_strings = off;\n" + script
		}
		g := globals.FromScript(script)
		if len(g.Notes) > 0 || len(g.Roles) != 1 || len(g.Settings) != 1 || len(g.Memberships) != 1 {
			t.Fatalf("%+v", g)
		}
		if r := g.Roles[0]; r.Name != name || r.Comment != value || r.Superuser || !r.Login || g.Settings[0].Value != value ||
			g.Passwords[name] != value {
			t.Errorf("%+v", g)
		}
	})
}
