package probe

import "testing"

// A time that no server has is unknown: before 1970, or of a year that no answer and no state file could hold.
func TestTimesThatNoServerHas(t *testing.T) {
	for _, v := range []string{"-1", "-62167219200000000", "9223372036854775807", "-9223372036854775808"} {
		if at, err := parseMicros(v); err != nil || !at.IsZero() {
			t.Errorf("%s: %s, %v", v, at, err)
		}
	}
	if at, err := parseMicros("1764350000000000"); err != nil || at.Year() != 2025 {
		t.Errorf("%s, %v", at, err)
	}
	var s Server
	if err := setReplayLag(&s, "9223372036854775807"); err != nil || s.ReplayLag < 1e9 {
		t.Errorf("lag %s, %v", s.ReplayLag, err)
	}
}
