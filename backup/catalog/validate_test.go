package catalog

import (
	"encoding/json"
	"strings"
	"testing"
)

// A manifest that somebody wrote in a bucket, with sums to match, is refused, not obeyed.
func TestAManifestWithWordsThatAreNotPostgresIsRefused(t *testing.T) {
	good := `{"format": 1, "id": "x", "engine": "pg_dump", "files": [{"path": "p"}], "databases": [{"name": "d", "path": "databases/d", "properties":
		{"encoding": "UTF8", "locale_provider": "icu", "grants": [{"grantee": "a\"; --", "privilege": "CONNECT"}], "settings": [{"name": "a.b", "value": "; x"}]}}],
		"globals": {"roles_file": "globals/r", "passwords_file": "globals/p", "objects": {"roles": [{"name": "\n"}], "parameters": [{"parameter": "p", "grantee": "r", "privilege": "ALTER SYSTEM"}]}}}`
	for _, format := range []string{"1", "2"} {
		for from, to := range map[string]string{
			"":               "",
			`"CONNECT"`:      `"CONNECT ON DATABASE d TO x; CREATE ROLE pwned SUPERUSER; --"`,
			`"UTF8"`:         `"UTF8' OWNER x; --"`,
			`"icu"`:          `"icu ICU_LOCALE 'x'; --"`,
			`"ALTER SYSTEM"`: `"ALL"`,
			`"\n"`:           `"a\u0000b"`,
			`"a.b"`:          `""`,
			`"; x"`:          `"\u0000"`,
			`"path": "p"`:    `"path": "../p"`,
			`"path": "p"}`:   `"path": "./status.json"}`,
			`"databases/d"`:  `"/etc/shadow"`,
			`"globals/r"`:    `"globals/../../r"`,
			`"globals/p"`:    `"/etc/p"`,
		} {
			text := strings.Replace(strings.Replace(good, `"format": 1`, `"format": `+format, 1), from, to, 1)
			var m Manifest
			if err := json.Unmarshal([]byte(text), &m); err != nil {
				t.Fatal(err)
			}
			if err := m.check("x"); (err == nil) != (from == "") {
				t.Errorf("format %s with %s: %v", format, to, err)
			}
		}
	}
}
