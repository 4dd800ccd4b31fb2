package web

import (
	"math"
	"net/http"
	"strconv"
	"time"
)

const (
	// scrapeTimeoutHeader is how Prometheus tells its scrape_timeout, in seconds.
	scrapeTimeoutHeader = "X-Prometheus-Scrape-Timeout-Seconds"
	// defaultScrapeTimeout is Prometheus' own default, for clients that send no header.
	defaultScrapeTimeout = 10 * time.Second
	// maxScrapeTimeout bounds what a header can make us wait.
	maxScrapeTimeout = time.Minute
)

// scrapeBudget is how long collecting may take, so that the page is with the client before it gives up: what the
// client waits less offset, but at least half of it, so that a short timeout still leaves time to collect.
// A header that is no positive number is as good as none.
func scrapeBudget(h http.Header, offset time.Duration) time.Duration {
	timeout := defaultScrapeTimeout
	seconds, err := strconv.ParseFloat(h.Get(scrapeTimeoutHeader), 64)
	// Comparing as floats: a huge number does not fit a Duration. NaN fails the first comparison.
	if err == nil && seconds > 0 && !math.IsInf(seconds, 0) {
		timeout = time.Duration(min(seconds, maxScrapeTimeout.Seconds()) * float64(time.Second))
	}
	return max(timeout-offset, timeout/2)
}
