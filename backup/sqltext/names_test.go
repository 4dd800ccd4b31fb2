package sqltext

import (
	"strings"
	"testing"
)

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "plain", "straße", "caf\xe9", "\xff\xfe", "own \uF7E9", "\uFFFD", "\xef\x9f", "日本"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		text := Text(name)
		if Bytes(text) != name || strings.ToValidUTF8(text, "") != text {
			t.Errorf("%q becomes %q becomes %q", name, text, Bytes(text))
		}
		if !strings.ContainsFunc(name, isPrivate) && strings.ToValidUTF8(name, "") == name && text != name {
			t.Errorf("%q is changed to %q", name, text)
		}
	})
}
