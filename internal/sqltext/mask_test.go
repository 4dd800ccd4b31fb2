package sqltext

import (
	"strings"
	"testing"
)

func TestLiteralsAndCommentsAreTakenOut(t *testing.T) {
	for name, tc := range map[string][2]string{
		"string":                      {`SELECT 'secret'`, `SELECT '?'`},
		"doubled quote":               {`SELECT 'a''secret', x`, `SELECT '?', x`},
		"escape string":               {`SELECT E'a\'secret', x`, `SELECT '?', x`},
		"escape string with \\\\":     {`SELECT e'a\\', x, 'secret'`, `SELECT '?', x, '?'`},
		"backslash in a plain string": {`SELECT 'a\'secret'`, `SELECT '?' ...`},
		"two backslashes":             {`SELECT 'a\\', 'secret'`, `SELECT '?' ...`},
		"path":                        {`COPY t FROM 'C:\dir\file'`, `COPY t FROM '?'`},
		"bits":                        {`SELECT b'101', X'5ec4e7', N'secret', U&'\0073ecret'`, `SELECT '?', '?', '?', '?'`},
		"dollars":                     {`DO $$ BEGIN PERFORM 'secret'; END $$; SELECT 1`, `DO '?'; SELECT ?`},
		"dollars with a tag":          {`SELECT $a$x $b$ secret $a$, y`, `SELECT '?', y`},
		"dollars within a word":       {`SELECT a$b$ FROM t$1 WHERE x = $1`, `SELECT a$b$ FROM t$1 WHERE x = $1`},
		"dollars without end":         {`SELECT $a$secret`, `SELECT '?'`},
		"cut in a tag":                {`SELECT $secr`, `SELECT '?'`},
		"string without end":          {`SELECT x, 'secr`, `SELECT x, '?'`},
		"numbers":                     {`SELECT 1, -2.5e-10, .5, 0xDEAD, 1_000 FROM t1`, `SELECT ?, -?, ?, ?, ? FROM t1`},
		"card number":                 {`WHERE card=4111111111111111`, `WHERE card=?`},
		"line comment":                {"SELECT x -- it's secret\n, y", "SELECT x \n, y"},
		"comment":                     {`SELECT /* /* nested */ secret's */ x`, `SELECT   x`},
		"comment without end":         {`SELECT x /* secret`, `SELECT x`},
		"comment sign in a string":    {"SELECT 'a--b'\n, 'secret'", "SELECT '?'\n, '?'"},
		"comment in a string":         {`SELECT '/*', 'secret', '*/', 'secret'`, `SELECT '?', '?', '?', '?'`},
		"quoted identifier":           {`SELECT "it's", 'secret' FROM "a""b"`, `SELECT "it's", '?' FROM "a""b"`},
		"string over lines":           {"SELECT 'a'\n'secret'", "SELECT '?'\n'?'"},
		"password":                    {`ALTER ROLE x PASSWORD 'secret' VALID UNTIL 'infinity'`, `ALTER ROLE x PASSWORD '?' VALID UNTIL '?'`},
		"other alphabets":             {`SELECT имя FROM "таблица" WHERE имя = 'secret'`, `SELECT имя FROM "таблица" WHERE имя = '?'`},
		"word that ends in e":         {`SELECT name'secret'`, `SELECT name'?'`},
		"no SQL":                      {"\x00'\xffsecret", "\x00'?'"},
		"nothing":                     {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Mask(tc[0]); got != tc[1] {
				t.Errorf("Mask(%q)\n got %q\nwant %q", tc[0], got, tc[1])
			}
			for cut := range tc[0] {
				if got := Mask(tc[0][:cut]); strings.Contains(got, "secr") || strings.Contains(got, "4111") || strings.Contains(got, "5ec4") {
					t.Errorf("cut after %d bytes it shows %q", cut, got)
				}
			}
			if again := Mask(Mask(tc[0])); again != Mask(tc[0]) && !strings.HasSuffix(tc[1], cut) {
				t.Errorf("what is masked changes: %q", again)
			}
		})
	}
}

func TestWhatIsShownOfAStatementFollowsTheChoice(t *testing.T) {
	const sql = "SELECT 1, -- it's\n 'secret' \x1b[2J\u202e"
	for show, want := range map[Show]string{
		"none": "", "": "SELECT ?,   '?'  [?", "masked": "SELECT ?,   '?'  [?", "full": "SELECT 1, -- it's  'secret'  [2J ",
	} {
		if got := show.Statement(sql, 100); got != want {
			t.Errorf("%s: %q, want %q", show, got, want)
		}
	}
	if got := Masked.Statement("SELECT "+strings.Repeat("é", 100), 50); len(got) > 50 || !strings.HasSuffix(got, "...") {
		t.Errorf("not cut: %q", got)
	}
}

func FuzzMask(f *testing.F) {
	for _, s := range []string{`SELECT 'a\'b'`, `$a$ $`, `E'\`, `/*/`, `"`, `1e-`, `u&'`, "--\r"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := Mask("SELECT 'secret" + strings.NewReplacer("'", "", `\`, "").Replace(s) + "', " + s)
		if strings.Contains(out, "secret") {
			t.Errorf("%q shows a literal: %q", s, out)
		}
	})
}
