package sqltext_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

var seeds = []string{
	"", "plain", `a"; --`, `it's \ here`, `\`, `\'`, "'", `"`, "\n", "$$x$$", "/*", "E'", "ünï", "x'; DROP ROLE y; --", `\x41\101\u0041`,
	"\xff",
}

// FuzzQuotingIsReadBack: what is quoted is one token, and says what it said, however backslashes are read.
func FuzzQuotingIsReadBack(f *testing.F) {
	for _, s := range seeds {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, backslashes bool) {
		if strings.IndexByte(s, 0) >= 0 {
			t.Skip("no text of a server holds a zero byte")
		}
		for kind, quoted := range map[sqltext.Kind]string{sqltext.String: sqltext.Literal(sqltext.Text(s)),
			sqltext.Quoted: sqltext.Ident(sqltext.Text(s))} {
			if kind == sqltext.Quoted && s == "" {
				continue // no name is empty
			}
			l := sqltext.NewLexer("x " + quoted + " y; z")
			l.Backslashes = backslashes
			tokens, err := l.Statement()
			if err != nil || len(tokens) != 3 || tokens[1].Kind != kind || tokens[1].Text != s {
				t.Errorf("%q became %s, which reads as %+v, %v", s, quoted, tokens, err)
			}
		}
	})
}

// FuzzListsAreReadBack: what JoinList wrote, SplitList reads, and SplitList never fails in any other way than by an error.
func FuzzListsAreReadBack(f *testing.F) {
	for _, s := range seeds {
		f.Add(s, "a", `A, "b"`)
	}
	f.Fuzz(func(t *testing.T, a, b, value string) {
		for _, fold := range []bool{true, false} {
			got, err := sqltext.SplitList(sqltext.JoinList([]string{a, b}), fold)
			if err != nil || !slices.Equal(got, []string{a, b}) {
				t.Errorf("%q and %q became %q, %v", a, b, got, err)
			}
			if got, err := sqltext.SplitList(value, fold); err == nil && len(got) > 0 {
				again, err := sqltext.SplitList(sqltext.JoinList(got), fold)
				if err != nil || !slices.Equal(got, again) {
					t.Errorf("%q is %q, and written anew %q, %v", value, got, again, err)
				}
			}
		}
	})
}

// FuzzLexerEnds: any text is read to its end or to an error, and no token is made of nothing.
func FuzzLexerEnds(f *testing.F) {
	for _, s := range seeds {
		f.Add("CREATE ROLE x; -- y\n" + s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l := sqltext.NewLexer(text)
		for range len(text) + 2 {
			tokens, err := l.Statement()
			if err != nil || tokens == nil {
				return
			}
		}
		t.Errorf("%q has more statements than bytes", text)
	})
}

func TestLists(t *testing.T) {
	for value, want := range map[string]struct{ folded, paths []string }{
		``:                   {nil, nil},
		`""`:                 {[]string{""}, []string{""}},
		`a, B ,"C, d"`:       {[]string{"a", "b", "C, d"}, []string{"a", "B", "C, d"}},
		`"$user", public`:    {[]string{"$user", "public"}, []string{"$user", "public"}},
		`a"b`:                {[]string{`a"b`}, []string{`a"b`}},
		`"a""b"`:             {[]string{`a"b`}, []string{`a"b`}},
		"\n x\n,\ty ":        {[]string{"x", "y"}, []string{"x", "y"}},
		`My Lib, x`:          {nil, []string{"My Lib", "x"}},
		`a;copy/**/(select)`: {[]string{`a;copy/**/(select)`}, []string{`a;copy/**/(select)`}},
		`ÄB`:                 {[]string{"Äb"}, []string{"ÄB"}},
		`a,`:                 {nil, nil},
		`,`:                  {nil, nil},
		`"a`:                 {nil, nil},
		`"a"b`:               {nil, nil},
	} {
		for _, fold := range []bool{true, false} {
			expected := want.paths
			if fold {
				expected = want.folded
			}
			got, err := sqltext.SplitList(value, fold)
			if !slices.Equal(got, expected) || (err != nil) != (expected == nil && value != "") {
				t.Errorf("%q (fold %t) = %q, %v, want %q", value, fold, got, err, expected)
			}
		}
	}
}

func TestStatementsOfPsqlAreNoSQL(t *testing.T) {
	l := sqltext.NewLexer("\\restrict aB9\nSELECT 1;\n\\unrestrict aB9\nSELECT 2; \\! id\n")
	for _, want := range []string{"1", "2"} {
		if tokens, err := l.Statement(); err != nil || len(tokens) != 2 || tokens[1].Text != want {
			t.Fatalf("%+v, %v", tokens, err)
		}
	}
	if tokens, err := l.Statement(); err == nil || !strings.Contains(err.Error(), "line 4") {
		t.Errorf("%+v, %v, want an error of line 4", tokens, err)
	}
	for _, text := range []string{`\restrict`, `\restrict a;b`, `\restrict a b`, `SELECT \restrict a`, `"`, `'`, `E'\`, `$a$ $b$`, `/* /* */`,
		`$1$ $1$`, `""`} {
		if tokens, err := sqltext.NewLexer(text).Statement(); err == nil {
			t.Errorf("%q reads as %+v", text, tokens)
		}
	}
}

func TestQuotedTextArrivesAndOneStatementIsOne(t *testing.T) {
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	conn, err := pg.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, standard := range []string{"on", "off"} {
		if err := sqltext.Exec(t.Context(), conn, "SET standard_conforming_strings = "+standard); err != nil {
			t.Fatal(err)
		}
		for _, s := range append(seeds, "日本", "🐘", strings.Repeat(`\'"`, 30)) {
			if s == "\xff" {
				continue
			}
			var got string
			if err := conn.QueryRow(t.Context(), "SELECT"+" "+sqltext.Literal(s)).Scan(&got); err != nil || got != s {
				t.Errorf("standard_conforming_strings %s: %q arrives as %q, %v", standard, s, got, err)
			}
			if s == "" || len(s) > 63 {
				continue
			}
			r := conn.PgConn().ExecParams(t.Context(), "SELECT 1 AS "+sqltext.Ident(s), nil, nil, nil, nil).Read()
			if r.Err != nil || r.FieldDescriptions[0].Name != s {
				t.Errorf("standard_conforming_strings %s: %q arrives as another name, %v", standard, s, r.Err)
			}
		}
	}
	err = sqltext.Exec(t.Context(), conn, "SELECT 1; CREATE ROLE pwned SUPERUSER")
	var report *pgconn.PgError
	if !errors.As(err, &report) || report.Code != "42601" {
		t.Errorf("two statements: %v, want the server's syntax error", err)
	}
	for _, s := range []string{"SELECT 'a\x00b'", "SELECT '\xff'"} {
		if err := sqltext.Exec(t.Context(), conn, s); err == nil {
			t.Errorf("%q is executed", s)
		}
	}
	if err := sqltext.Exec(t.Context(), conn, "SET client_encoding = 'SJIS'"); err != nil {
		t.Fatal(err)
	}
	if err := sqltext.Exec(t.Context(), conn, "SELECT "+sqltext.Literal("表")); err == nil {
		t.Error("characters beyond ASCII go to a session that reads them in another encoding")
	}
}
