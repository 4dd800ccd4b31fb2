package monitor

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

// TestJSONMovesNoTerminal: the exporter's answer may be somebody else's.
func TestJSONMovesNoTerminal(t *testing.T) {
	for _, text := range []string{"\u009b31m", "\u202eright", "\x7f", "\U000e0001tag", "grün 数据 \U0001f600 \\u0041 \\n"} {
		body := []byte("{\n  \"x\": \"" + text + "\"\n}\n")
		out := inert(body)
		var was, is map[string]string
		if json.Unmarshal(body, &was) != nil || json.Unmarshal(out, &is) != nil || was["x"] != is["x"] {
			t.Errorf("%q became %q", body, out)
		}
		if strings.ContainsFunc(string(out), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
			t.Errorf("%q is written", out)
		}
	}
	if out := string(inert([]byte("\x9b\xff"))); out != `\ufffd\ufffd` {
		t.Errorf("bytes that are no UTF-8 are written as %q", out)
	}
}
