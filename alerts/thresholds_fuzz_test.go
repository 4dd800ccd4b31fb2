package alerts

import "testing"

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
