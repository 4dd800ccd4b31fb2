package serverlog

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// heardLines keeps what a format finds.
type heardLines struct {
	said   []string
	unseen int
}

func (h *heardLines) unread() { h.unseen++ }
func (h *heardLines) record(r *Record) {
	h.said = append(h.said, fmt.Sprintf("%s %s %d %s@%s/%s: %s|%s|%s", r.Severity, r.SQLState, r.PID, r.User.Bytes(), r.Database.Bytes(),
		r.Application.Bytes(),
		r.Message(), r.Detail.Bytes(), r.Statement.Bytes()))
}

func parse(name, setting, text string) *heardLines {
	h := &heardLines{}
	var p atomic.Pointer[prefix]
	if setting != "" {
		p.Store(newPrefix(setting))
	}
	f := newFormat(newWords(), h, &p, name, []byte(text))
	var l lines
	l.feed([]byte(text), f)
	f.flush()
	return h
}

func TestPrefixes(t *testing.T) {
	for _, tc := range []struct{ prefix, line, want string }{
		{"", "LOG:  no prefix", "log  0 @/: no prefix||"},
		{"%m [%p] ", "2026-11-28 10:07:16.123 CET [42] ERROR:  ANSWER:  42", "error  42 @/: ANSWER:  42||"},
		{"%m [%p] %q%u@%d/%a ", "2026-11-28 10:07:16.123 CET [42] LOG:  a process of its own", "log  42 @/: a process of its own||"},
		{"%m [%p] %q%u@%d/%a ", "2026-11-28 10:07:16.123 CET [42] me@db/psql FATAL:  x", "fatal  42 me@db/psql: x||"},
		{"%m [%p] %q%u@%d/%a ", "2026-11-28 10:07:16.123 CET [42] me@db/my own app FATAL:  x", "fatal  42 me@db/my own app: x||"},
		{"%m [%p] %q%u@%d/%a ", "2026-11-28 10:07:16.123 CET [42] a@b@db/x PANIC: y ERROR:  x", "error  42 a@b@db/x PANIC: y: x||"},
		{"%e%p%u%d", "5701442me1FEHLER:  zusammen", "error 57014 42 @me1/: zusammen||"}, // nothing says where the user ends
		{"%10p|%-8e|%u|", "        42|22012   |me|ERREUR:  x", "error 22012 42 me@/: x||"},
		{"<%%%t %%> ", "<%2026-11-28 10:07:16 +0545 %> ОШИБКА:  x", "error  0 @/: x||"},
		{"%n %p ", "1795861319.281 7 WARNUNG:  x", "warning  7 @/: x||"},
		{"%m [%p] ", "2026-11-28 10:07:16.123 CET [42] ERROR:  a\n\tb\n\n\tc", "error  42 @/: a\nb\nc||"},
		{"%m [%p] ", "2026-11-28 10:07:16.123 CET [42] ERREUR:  a\n2026-11-28 10:07:16.123 CET [42] DÉTAIL:  d\n2026-11-28 10:07:16.123 CET " +
			"[42] ASTUCE :  h\n\thh\n" +
			"2026-11-28 10:07:16.123 CET [42] INSTRUCTION :  SELECT\n\t1", "error  42 @/: a|d|SELECT\n1"},
		{"%m [%p] ", "2026-11-28 10:07:16.123 CET [42] ERROR:  a\n2026-11-28 10:07:16.123 CET [43] DETAIL:  another's", "error  42 @/: a||"},
	} {
		h := parse("x.log", tc.prefix, tc.line+"\n")
		if len(h.said) != 1 || h.said[0] != tc.want {
			t.Errorf("%q: %q is %q, not %q", tc.prefix, tc.line, h.said, tc.want)
		}
	}
}

func TestUnknownPrefixIsGuessed(t *testing.T) {
	h := parse("x.log", "", "2026-11-28 10:07:16.123 CET:10.0.0.1(5):me@db:[42]:ERROR:  x\n")
	if want := "error  42 @/: x||"; len(h.said) != 1 || h.said[0] != want {
		t.Errorf("%q", h.said)
	}
	// One that was changed, too, after some lines.
	h = parse("x.log", "%m [%p] ", strings.Repeat("[42] ERROR:  x\n", 3*stalePrefix))
	if len(h.said) != 2*stalePrefix+1 {
		t.Errorf("%d of the lines with a new prefix are read", len(h.said))
	}
}

func TestCSVAndJSON(t *testing.T) {
	csv := `2026-11-28 10:07:16.123 CET,"me","d""b",42,"[local]",6a.1,1,"SELECT",2026-11-28 10:07:16 CET,3/1,0,FEHLER,22P02,"a ""quoted""
2026-11-28 10:07:16.123 CET,line",,,,,,"SELECT
1",,,"psql","client backend",,0` + "\n"
	want := `error 22P02 42 me@d"b/psql: a "quoted"` + "\n2026-11-28 10:07:16.123 CET,line||SELECT\n1"
	for name, h := range map[string]*heardLines{
		"csv":   parse("x.csv", "", csv),
		"again": parse("", "", csv+"rubbish\n"),
		"json": parse("", "", `{"timestamp":"2026-11-28 10:07:16.123 CET","user":"me","dbname":"d\"b","pid":42,"error_severity":"ERROR","state_code":"22P02",`+
			`"message":"a \"quoted\"\n2026-11-28 10:07:16.123 CET,line","statement":"SELECT\n1","application_name":"psql","query_id":0}`+"\n"),
		"json, spaced": parse("x.json", "", `{ "timestamp": "2026-11-28 10:07:16.123 CET", "user": "me", "dbname" : "d\"b", "pid": 42 , `+
			`"error_severity": "ERROR", "state_code": "22P02", "message": "a \"quoted\"\n2026-11-28 10:07:16.123 CET,line", `+
			`"statement": "SELECT\n1", "application_name": "psql", "query_id": 0 }`+"\n"),
	} {
		if len(h.said) != 1 || h.said[0] != want {
			t.Errorf("%s: %q", name, h.said)
		}
	}
}

// TestHostileLines: no line costs more than its bound, or hides the next.
func TestHostileLines(t *testing.T) {
	good := `{"timestamp":"2026-11-28 10:07:16.123 UTC","pid":1,"error_severity":"LOG","message":"good"}` + "\n"
	for _, bad := range []string{
		strings.Repeat("x", 3*maxRecord), `{"message":"` + strings.Repeat(`\"`, maxRecord), "{", "{}", `{"`, `{"pid":`, `{"pid":{"a":1}}`,
		"\x00\xff\xfe",
		`{"error_severity":"` + strings.Repeat("é", 100) + `"}`,
	} {
		h := parse("x.json", "", bad+"\n"+good)
		if len(h.said) != 1 || h.unseen != 1 {
			t.Errorf("%.40q: %q, %d unread", bad, h.said, h.unseen)
		}
	}
	h := parse("x.json", "", `{"pid":1,"error_severity":"ERROR","state_code":"22012","message":"cut","statement":"`+
		strings.Repeat("x", 2*maxRecord)+"\"}\n"+good)
	if len(h.said) != 2 {
		t.Errorf("of a long statement's message there is %q", h.said)
	}
	// A quote that is never closed.
	h = parse("x.csv", "", "2026-11-28 10:07:16.123 CET,\"me\n"+strings.Repeat("x,y\n", maxRecord)+
		strings.Repeat("2026-11-28 10:07:16.123 CET,,,42,,6a.1,1,,2026-11-28 10:07:16 CET,3/1,0,LOG,00000,good,,,,,,,,,,\n", 3))
	if len(h.said) == 0 || !strings.Contains(h.said[len(h.said)-1], "good") {
		t.Errorf("after an open quote there is %q", h.said)
	}
	start := time.Now()
	parse("x.log", "%u%d%a%h%r%b%q", strings.Repeat(strings.Repeat(" ERROR: ", 200)+"\n", 200))
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("200 ambiguous lines took %s", took)
	}
}

func TestMask(t *testing.T) {
	for text, want := range map[string]string{
		`invalid connection string "postgres://me:hunter2@db/x password=hunter2"`: `invalid connection string "postgres://me:?@db/x password=?`,
		"Key (a, b)=(1, secret) already exists.":                                  "Key (a, b)=(?)",
	} {
		if got := maskMessage(text); got != want {
			t.Errorf("%q is masked as %q", text, got)
		}
	}
}

func TestClock(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	seen := time.Date(2026, 10, 25, 0, 30, 2, 0, time.UTC)
	for _, tc := range []struct {
		zone *time.Location
		live bool
		text string
		want string
	}{
		{berlin, false, "2026-10-25 02:30:00.5 CEST", "2026-10-25T00:30:00.5Z"},
		{berlin, false, "2026-10-25 02:30:00.5 CET", "2026-10-25T01:30:00.5Z"},
		{nil, false, "2026-10-25 02:30:00 +0545", "2026-10-24T20:45:00Z"},
		{nil, false, "2026-10-25 02:30:00 UTC", "2026-10-25T02:30:00Z"},
		{nil, true, "2026-10-25 06:15:00.25 NPT", "2026-10-25T00:30:00.25Z"},
		{nil, false, "2026-10-25 06:15:00.25 NPT", seen.Format(time.RFC3339)},
		{nil, false, "1795861319.281", "2026-11-28T10:21:59.281Z"},
		{nil, false, "yesterday", seen.Format(time.RFC3339)},
	} {
		c := clock{zone: tc.zone}
		if got := c.read([]byte(tc.text), seen, tc.live).Format(time.RFC3339Nano); got != tc.want {
			t.Errorf("%s is %s, not %s", tc.text, got, tc.want)
		}
	}
}

// FuzzLog gives every format any bytes, in pieces: it must not fail, take longer than its bounds, or find more than there is.
func FuzzLog(f *testing.F) {
	f.Add("%m [%p] %q%u@%d ", "2026-11-28 10:07:16.123 CET [42] ERROR:  a\n\tb\n2026-11-28 10:07:16.123 CET [42] DETAIL:  c\n", 7)
	f.Add("", `{"timestamp":"2026-11-28 10:07:16.123 UTC","pid":1,"error_severity":"LOG","message":"\ud83d\ude00\u12"}`+"\n", 3)
	f.Add("", "2026-11-28 10:07:16.123 CET,,,42,,6a.1,1,,2026-11-28 10:07:16 CET,3/1,0,LOG,00000,\"go\nod\",,,,,,,,,,\n", 11)
	w, zones := newWords(), map[string]time.Duration{}
	l := &Log{words: w, classes: newClassIndex(), now: time.Now, o: Options{OnEvent: func(Event) {}}}
	f.Fuzz(func(t *testing.T, setting, text string, step int) {
		for _, name := range []string{"a.log", "a.csv", "a.json"} {
			h := &heardLines{}
			var p atomic.Pointer[prefix]
			p.Store(newPrefix(setting))
			rd := &reader{log: l, live: true, clock: clock{guessed: zones}}
			both := twoSinks{h, rd}
			format := newFormat(w, both, &p, name, []byte(text))
			var cut lines
			for rest := []byte(text); len(rest) > 0; {
				n := min(max(1, step), len(rest))
				cut.feed(rest[:n], format)
				rest = rest[n:]
			}
			format.flush()
			if n := strings.Count(text, "\n"); len(h.said)+h.unseen > n+1 {
				t.Errorf("%s: %d messages of %d lines", name, len(h.said)+h.unseen, n)
			}
			for _, said := range h.said {
				if len(said) > 4*maxRecord {
					t.Errorf("%s: a message of %d bytes", name, len(said))
				}
			}
			if len(zones) > maxGuesses {
				t.Errorf("%d zones are remembered", len(zones))
			}
		}
		if masked := maskMessage(text); len(masked) > 4*len(text)+8 {
			t.Errorf("masking makes %d bytes of %d", len(masked), len(text))
		}
	})
}

type twoSinks struct{ a, b sink }

func (s twoSinks) record(r *Record) { s.a.record(r); s.b.record(r) }
func (s twoSinks) unread()          { s.a.unread(); s.b.unread() }
