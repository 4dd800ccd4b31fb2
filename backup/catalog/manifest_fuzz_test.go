package catalog

import (
	"encoding/json"
	"testing"
)

// A manifest that is taken answers every question about it.
func FuzzManifest(f *testing.F) {
	for _, text := range []string{
		"", "null", "{}", `{"format":2,"id":"a","engine":"pg_dump","files":[{"path":"x","bytes":-1}]}`,
		`{"format":1,"id":"a","engine":"pg_dump","files":[{}],"databases":[{"name":"b","contents":{"tables":[{}]}}]}`,
		`{"format":2,"id":"a","engine":"pgbackrest","external":{}}`, `{"format":1,"id":"a","started":"0000-00-00T00:00:00Z"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var m Manifest
		if json.Unmarshal(text, &m) != nil || m.check("a") != nil {
			return
		}
		_, _, _, _ = m.Rows(), m.OwnBytes(), m.ServerBytes(), m.Duration()
		_, _ = m.Server.Major(), m.Counted()
		for _, d := range m.Databases {
			if got, ok := m.Database(d.Name); !ok || got.Name != d.Name {
				t.Errorf("database %q is not found", d.Name)
			}
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatalf("what was read can't be written: %v", err)
		}
		var same Manifest
		if err := json.Unmarshal(again, &same); err != nil {
			t.Fatalf("what was written can't be read: %v", err)
		}
		if err := same.check("a"); err != nil {
			t.Errorf("what was written is refused: %v", err)
		}
	})
}

// A job's state that was cut somewhere still gives what is whole.
func FuzzCutState(f *testing.F) {
	f.Add([]byte(`{"last_success":"2026-05-04T12:00:00Z","consecutive_failures":3,"x":{`), 3)
	f.Add([]byte(`[]`), 1)
	f.Add([]byte(`{"a":1,"a":2}`), 0)
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		salvage(text)
		if cut < 0 || cut > len(text) {
			return
		}
		salvage(text[:cut])
	})
}
