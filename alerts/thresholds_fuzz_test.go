package alerts

import (
	"slices"
	"strings"
	"testing"
)

func FuzzThresholds(f *testing.F) {
	f.Add(thresholdsFile)
	f.Add([]byte("thresholds:\n  a: {value: -1e309, unit: seconds, help: x}\n"))
	f.Add([]byte("thresholds:\n  a: {value: .nan, unit: bytes}\n"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		c, err := parse(text)
		if err != nil {
			return
		}
		for _, t := range c.Thresholds {
			_ = t.Human()
		}
		_ = c.countable()
	})
}

func TestAThresholdThatNoRuleUsesIsAnError(t *testing.T) {
	text := append(slices.Clone(thresholdsFile), "  nobody: {value: 1, unit: count}\n"...)
	if _, err := load(text); err == nil || !strings.Contains(err.Error(), "nobody is used by no rule") {
		t.Errorf("an unused threshold: %v", err)
	}
}
