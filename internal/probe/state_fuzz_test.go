package probe

import (
	"testing"
	"time"
)

// A state file that is taken is written again, and read again; any other says why it is not.
func FuzzStateFile(f *testing.F) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	empty, err := encodeState(newState(), "db1:5432/shop", now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(empty)
	for _, text := range []string{
		"", "{}", `{"version":1,"target":"db1:5432/shop","state":null}`, `{"version":1,"target":"db1:5432/shop","state":{}}`, `{"version":99}`,
		`{"version":1,"target":"other","state":{}}`, `{"version":1e400}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, why, err := decodeState(data, "db1:5432/shop")
		if (err == nil) != (why == "") || (err == nil) != (s != nil) {
			t.Fatalf("state %v, aside %q, error %v", s != nil, why, err)
		}
		if err != nil {
			return
		}
		again, err := encodeState(s, "db1:5432/shop", now)
		if err != nil {
			t.Fatalf("what was read can't be written: %v", err)
		}
		if _, _, err := decodeState(again, "db1:5432/shop"); err != nil {
			t.Errorf("what was written can't be read: %v\n%s", err, again)
		}
	})
}
