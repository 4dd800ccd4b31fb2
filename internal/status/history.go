package status

import "time"

// History is latency and availability over time, from the prober's own books, which survive restarts of the exporter.
type History struct {
	// Hour, Day and Month are the last 60 minutes, 24 hours and 30 days.
	Hour  Series `json:"hour"`
	Day   Series `json:"day"`
	Month Series `json:"month"`
}

// Series is a window of equal buckets, oldest first and without gaps: what was not observed is in them as unknown.
type Series struct {
	// BucketSeconds is the width of a bucket: 60, 900 or 21600.
	BucketSeconds float64 `json:"bucket_seconds"`
	// Buckets are left out of an answer that was not asked for them (?history=).
	Buckets []Bucket `json:"buckets,omitempty"`
}

// Bucket is a stretch of time that begins at a multiple of its width. Up, down and unknown add up to its width, in the
// newest to what has passed of it.
type Bucket struct {
	Start          time.Time `json:"start"`
	UpSeconds      float64   `json:"up_seconds"`
	DownSeconds    float64   `json:"down_seconds"`
	UnknownSeconds float64   `json:"unknown_seconds"`
	// Probes is how many read probes succeeded; the latencies are theirs, and left out when there were none.
	Probes     uint64   `json:"probes"`
	P50Seconds *float64 `json:"p50_seconds,omitempty"`
	P95Seconds *float64 `json:"p95_seconds,omitempty"`
	MaxSeconds *float64 `json:"max_seconds,omitempty"`
}

// Availability is the windows in a number each, and what is left of the error budget.
type Availability struct {
	Hour  Window `json:"hour"`
	Day   Window `json:"day"`
	Month Window `json:"month"`
	// Budget is of the month.
	Budget Budget `json:"budget"`
}

// Window is one window summed up.
type Window struct {
	UpSeconds      float64 `json:"up_seconds"`
	DownSeconds    float64 `json:"down_seconds"`
	UnknownSeconds float64 `json:"unknown_seconds"`
	// Ratio is up / (up + down): what was not observed counts neither way. Left out when nothing was observed.
	Ratio      *float64 `json:"ratio,omitempty"`
	P50Seconds *float64 `json:"p50_seconds,omitempty"`
	P95Seconds *float64 `json:"p95_seconds,omitempty"`
	MaxSeconds *float64 `json:"max_seconds,omitempty"`
}

// Observed is for how many seconds of the window somebody looked; 0 when that was nearly all of it, and need not be said.
func (w Window) Observed() float64 {
	const most = 0.02
	if seen := w.UpSeconds + w.DownSeconds; w.UnknownSeconds > most*seen {
		return seen
	}
	return 0
}

// Budget is how much the database may be down in 30 days, and what is left of that.
type Budget struct {
	ObjectiveRatio float64 `json:"objective_ratio"`
	WindowSeconds  float64 `json:"window_seconds"`
	AllowedSeconds float64 `json:"allowed_seconds"`
	SpentSeconds   float64 `json:"spent_seconds"`
	// LeftSeconds is negative when more was spent than allowed.
	LeftSeconds float64 `json:"left_seconds"`
}

// Outages of reads or logins.
type Outages struct {
	// Count, DowntimeSeconds and LongestSeconds are since the state was first kept, Count and DowntimeSeconds with the
	// outage in progress. LongestSeconds is left out before the first that has ended.
	Count           uint64   `json:"count"`
	DowntimeSeconds float64  `json:"downtime_seconds"`
	LongestSeconds  *float64 `json:"longest_seconds,omitempty"`
	// Recent are the newest 100, newest first; the one in progress has no end.
	Recent []Outage `json:"recent"`
}

// Outage is one stretch of time in which reads or logins failed.
type Outage struct {
	Start time.Time `json:"start"`
	// End is left out while the outage is in progress.
	End *time.Time `json:"end,omitempty"`
	// Seconds it lasted, or has lasted so far. What passed while the exporter was off is in it only if the outage was still
	// there afterwards.
	Seconds float64 `json:"seconds"`
	// Reason it began with, as in pg_reliability_outages_total.
	Reason string `json:"reason"`
	// Restarts are the kinds that were seen in it; left out where there was none.
	Restarts []string `json:"restarts,omitempty"`
}
