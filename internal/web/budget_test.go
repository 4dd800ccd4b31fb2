package web

import (
	"net/http"
	"testing"
	"time"
)

func TestScrapeBudget(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"":        9500 * time.Millisecond,
		"10":      9500 * time.Millisecond,
		"5.5":     5 * time.Second,
		"0.6":     300 * time.Millisecond, // half at least
		"1e30":    59500 * time.Millisecond,
		"+Inf":    9500 * time.Millisecond,
		"NaN":     9500 * time.Millisecond,
		"0":       9500 * time.Millisecond,
		"-3":      9500 * time.Millisecond,
		"10s":     9500 * time.Millisecond,
		"secret!": 9500 * time.Millisecond,
	} {
		h := http.Header{}
		if header != "" {
			h.Set(scrapeTimeoutHeader, header)
		}
		if got := scrapeBudget(h, 500*time.Millisecond); got != want {
			t.Errorf("header %q gives %s, want %s", header, got, want)
		}
	}
}
