package monitor

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFormats(t *testing.T) {
	f := func(v float64) *float64 { return &v }
	for got, want := range map[string]string{
		span(0): "0 s", span(59 * time.Second): "59 s", span(61 * time.Second): "1 min 1 s", span(25 * time.Hour): "1 d 1 h",
		span(-3 * time.Minute): "-3 min 0 s", span(seconds(1e300)): "106751 d 23 h",
		latency(nil): "?", latency(f(0.00042)): "0.4 ms", latency(f(0.25)): "250 ms", latency(f(2)): "2.0 s",
		size(999): "999 B", size(1000): "1.0 kB", size(123456789): "123 MB", size(-1): "-1 B",
		percent(f(1)): "100 %", percent(f(0.99999)): "99.999 %", percent(nil): "?",
		style{ascii: true}.bar(0.5, 4): "##..", style{ascii: true}.bar(7, 4): "####", style{}.bar(-1, 2): "░░",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	samples := []sample{{known: true, ok: true, seconds: 0.0001}, {known: true, ok: true, seconds: 1}, {known: true}, {},
		{known: true, ok: true, seconds: 60}}
	if got := (style{}).spark(samples, 5); got != "▁█x █" {
		t.Errorf("spark %q", got)
	}
	if got := (style{ascii: true}).spark(samples, 2); got != " #" {
		t.Errorf("spark of the newest two %q", got)
	}
}

func TestTextsAreHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                         "plain",
		"\x1b[31mred\x1b[0m":            "red",
		"\x1b]0;title\x07text":          "text",
		"a\tb\rc\bd":                    "a bcd",
		"one\r\nline":                   "one line",
		"right\u202eto left":            "rightto left",
		"not \xff UTF-8":                "not ? UTF-8",
		"\x9b31mC1":                     "?31mC1",
		"\u009b2Jclear":                 "2Jclear",
		strings.Repeat("x", maxLine):    strings.Repeat("x", maxLine),
		"Grüße, 你好":                     "Grüße, 你好",
		"\x1b]8;;http://evil\x1b\\link": "link",
	} {
		if got := harmless(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// next is the next line of a log.
func next(t *testing.T, lines <-chan string) string {
	t.Helper()
	select {
	case line, ok := <-lines:
		if !ok {
			t.Fatal("the log ended")
		}
		return line
	case <-time.After(20 * time.Second):
		t.Fatal("no line")
	}
	return ""
}

func write(t *testing.T, path string, flag int, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|flag, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLogFileIsFollowedAcrossRotation(t *testing.T) {
	dir := t.TempDir()
	first := filepath.Join(dir, "postgresql-1.log")
	var b strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	write(t, first, os.O_TRUNC, b.String())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := LogFile(filepath.Join(dir, "*.log")).Follow(ctx, 3)
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string)
	done := make(chan error, 1)
	go func() { done <- scan(ctx, r, lines) }()
	for i := 1997; i < 2000; i++ {
		if got := next(t, lines); got != fmt.Sprintf("line %d", i) {
			t.Errorf("%q, want line %d", got, i)
		}
	}
	write(t, first, os.O_APPEND, "appended\n")
	if got := next(t, lines); got != "appended" {
		t.Errorf("%q", got)
	}
	second := filepath.Join(dir, "postgresql-2.log")
	write(t, second, os.O_TRUNC, "of the next file\n")
	if got := next(t, lines); got != "of the next file" {
		t.Errorf("%q", got)
	}
	write(t, second, os.O_TRUNC, "cut\n")
	if got := next(t, lines); got != "cut" {
		t.Errorf("%q", got)
	}
	cancel()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("the log was not left when the context ended")
	}
	if _, err := LogFile(filepath.Join(dir, "*.none")).Follow(t.Context(), 3); err == nil || !strings.Contains(err.Error(), "no file is at") {
		t.Errorf("error %v", err)
	}
}

// The server writes its last line into one file and its first into the next in the same instant of the file system's clock.
func TestOfLogFilesOfTheSameInstantTheLaterNameIsNewer(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	for _, name := range []string{"postgresql-1.log", "postgresql-2.log"} {
		write(t, filepath.Join(dir, name), os.O_TRUNC, name+"\n")
		if err := os.Chtimes(filepath.Join(dir, name), now, now); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := LogFile(filepath.Join(dir, "*.log")).newest(); err != nil || filepath.Base(got) != "postgresql-2.log" {
		t.Errorf("%s, %v", got, err)
	}
}

// A line without an end must not fill the memory.
func TestALineWithoutEndIsCut(t *testing.T) {
	lines := make(chan string, 2)
	text := strings.Repeat("x", 1<<20) + "\nnext\n"
	_ = scan(t.Context(), bufio.NewReader(strings.NewReader(text)), lines)
	if first, second := <-lines, <-lines; len(first) != maxLine || second != "next" {
		t.Errorf("%d bytes, then %q", len(first), second)
	}
}

func TestWhatIsLookedAtStaysWhileTheLogGrows(t *testing.T) {
	l := newLogView()
	row := func(i int) []string { return []string{l.lines[i]} }
	window := func() string { shown, _ := l.window(3, row); return strings.Join(shown, " ") }
	for i := range 10 {
		l.add([]string{fmt.Sprint(i)})
	}
	l.key("up")
	if before := window(); before != "6 7 8" {
		t.Errorf("one line up: %s", before)
	}
	l.add([]string{"more"})
	if after := window(); after != "6 7 8" {
		t.Errorf("with a line more: %s", after)
	}
	l.key("home")
	if got := window(); got != "0 1 2" {
		t.Errorf("the beginning: %s", got)
	}
	l.key("f")
	l.add([]string{"newest"})
	if got := window(); got != "9 more newest" {
		t.Errorf("following: %s", got)
	}
	twice := func(i int) []string { return []string{l.lines[i] + "a", l.lines[i] + "b"} }
	if shown, _ := l.window(3, twice); strings.Join(shown, " ") != "moreb newesta newestb" {
		t.Errorf("wrapped: %v", shown)
	}
	for range 3 * keptLines {
		l.add([]string{"x"})
	}
	if len(l.lines) > keptLines {
		t.Errorf("%d lines are kept", len(l.lines))
	}
}

func TestALineLeavesOutWholeParts(t *testing.T) {
	st := style{ascii: true}
	for width, want := range map[int]string{
		9: "running ~", 17: "running ~", 18: "running, healthy ~",
		21: "running, healthy ~", 22: "running, healthy, 3 up", 100: "running, healthy, 3 up",
	} {
		if got := st.list(width, ", ", "running", "healthy", "3 up"); got != want {
			t.Errorf("%d columns: %q, want %q", width, got, want)
		}
	}
}

func TestALineOfTheLogInBrief(t *testing.T) {
	for in, want := range map[string]string{
		"2026-05-04 12:00:00.123 UTC [7] LOG:  ready":                                          "12:00:00 LOG:  ready",
		"2026-05-04 12:00:00 CET [7] me@shop psql ERROR:  no column \"LOG:  x\"":               "12:00:00 ERROR:  no column \"LOG:  x\"",
		"2026-05-04T12:00:00+00:00 postgres[7]: 2026-05-04 12:00:00.1 UTC [7] FATAL:  the end": "12:00:00 FATAL:  the end",
		"2026-05-04 12:00:00.123 UTC [7] LOG: one blank":                                       "12:00:00.123 UTC [7] LOG: one blank",
		"\tSELECT 1": "\tSELECT 1",
		"2026-05-04 12:00:00.123 UTC [7] me@shop DETAIL:  Key (id)=(1) exists.": "12:00:00 DETAIL:  Key (id)=(1) exists.",
	} {
		if got := brief(in); got != want {
			t.Errorf("%q in brief: %q, want %q", in, got, want)
		}
	}
}

// No length of time, however impossible, takes the screen down.
func TestLengthsWithoutEnd(t *testing.T) {
	for _, d := range []time.Duration{math.MinInt64, math.MaxInt64, seconds(math.Inf(-1)), seconds(math.Inf(1)), seconds(math.NaN())} {
		_ = span(d)
	}
	now := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	_ = ago(now, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
	_ = ago(now, time.Time{})
}
