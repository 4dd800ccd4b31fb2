package serverlog

import (
	"strings"
	"testing"
)

// TestWordsAreLookedUpByTheirStart sees to it that no pattern is left out.
func TestWordsAreLookedUpByTheirStart(t *testing.T) {
	w := newWords()
	for line := range strings.Lines(translations) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if strings.HasPrefix(line, "#") || strings.Contains(fields[0], " ") {
			continue
		}
		message := example(fields[2])
		if kind, found := w.find([]byte(message)); kind != Kind(fields[0]) {
			t.Errorf("%s: %q is %q (%q)", fields[0], message, kind, found)
		}
	}
	for _, p := range w.quoted {
		if p.pieces[0] != `"` {
			t.Errorf("%s begins with less than is looked up: %q", p.kind, p.pieces)
		}
	}
	for _, p := range w.processes {
		if !strings.Contains(p.pieces[1], "(PID ") {
			t.Errorf("%s begins with an argument: %q", p.kind, p.pieces)
		}
	}
}

// example is a message of a format.
func example(format string) string {
	p := newPattern("", format)
	var out strings.Builder
	out.WriteString(p.pieces[0])
	for i, argument := range p.order {
		out.WriteString([]string{"11", "22", "33", "44", "55", "66"}[argument])
		out.WriteString(p.pieces[i+1])
	}
	return out.String()
}

func TestWordsSayWhatAMessageSpeaksOf(t *testing.T) {
	w := newWords()
	for message, want := range map[string]arguments{
		"server process (PID 4711) was terminated by signal 9: Killed": {[]byte("server process"), []byte("4711"), []byte("9"), []byte("Killed")},
		"Serverprozess (PID 4711) wurde von Signal 9 beendet: Getötet": {[]byte("Serverprozess"), []byte("4711"), []byte("9"), []byte("Getötet")},
		"进程4711在1000.123 ms仍然等待在relation 1 of database 2上的ShareLock": {[]byte("4711"), []byte("ShareLock"), []byte("relation 1 of database 2"),
			[]byte("1000"), []byte("123")},
	} {
		if kind, got := w.find([]byte(message)); kind == NoKind || !same(got, want) {
			t.Errorf("%s: %s %q", message, kind, got)
		}
	}
}

func same(a, b arguments) bool {
	for i := range a {
		if string(a[i]) != string(b[i]) {
			return false
		}
	}
	return true
}
