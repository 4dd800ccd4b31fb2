package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

// answer is the JSON of every endpoint that speaks of the database. Names and meanings of fields stay as they are;
// new ones may be added.
type answer struct {
	// OK is the answer to the question the endpoint asks: HTTP status 200 if true, else 503.
	OK bool `json:"ok"`
	// Status is up, degraded, down or unknown, whatever the question.
	Status string `json:"status"`
	// Reason is ok, unknown, or why the status is what it is, as in pg_reliability_up_reason.
	Reason string `json:"reason"`
	// Since is when Status and Reason began to hold; left out while unknown.
	Since *time.Time `json:"since,omitempty"`
	// Message says it in words, which may change.
	Message string `json:"message"`
	// Role is primary or standby; left out while unknown. /primary and /replica have it.
	Role string `json:"role,omitempty"`
	// ReplayLag is a standby's, left out while unknown. /replica has it.
	ReplayLag *float64 `json:"replay_lag_seconds,omitempty"`
	// The rest is /api/health/detailed's.
	Outage *outageAnswer `json:"outage,omitempty"`
	Checks []checkAnswer `json:"checks,omitempty"`
	Server *serverAnswer `json:"server,omitempty"`
}

// outageAnswer is left out while there is none.
type outageAnswer struct {
	Start   time.Time `json:"start"`
	Seconds float64   `json:"seconds"`
}

// checkAnswer is one probe that is switched on.
type checkAnswer struct {
	// Name is read, login or write.
	Name string `json:"name"`
	// Status is up, down, or unknown before the first report and when the newest is too old.
	Status string `json:"status"`
	// Reason of the newest report, also when that is too old; unknown before the first.
	Reason string `json:"reason"`
	// Since is when Reason began to hold.
	Since *time.Time `json:"since,omitempty"`
	// CheckedAt is the end of the newest probe, Age how long ago that is.
	CheckedAt *time.Time `json:"checked_at,omitempty"`
	Age       *float64   `json:"age_seconds,omitempty"`
	Latency   *float64   `json:"latency_seconds,omitempty"`
	// Error is the newest failure's text, left out after a success.
	Error string `json:"error,omitempty"`
}

// serverAnswer is what the server said of itself when it last answered. What is unknown is left out.
type serverAnswer struct {
	Role string `json:"role,omitempty"`
	// Version is server_version_num, such as 170006.
	Version          int        `json:"version,omitempty"`
	StartTime        *time.Time `json:"start_time,omitempty"`
	SystemIdentifier string     `json:"system_identifier,omitempty"`
	Timeline         int64      `json:"timeline,omitempty"`
	ReplayLag        *float64   `json:"replay_lag_seconds,omitempty"`
}

func (v verdict) answer(ok bool) answer {
	return answer{OK: ok, Status: string(v.Status), Reason: string(v.Reason), Since: timeOrNil(v.Since), Message: v.Message}
}

// ready is GET /api/health/ready and, for people, GET /api/health/: 200 if the database takes reads and logins.
func (h *health) ready(*http.Request) (answer, error) {
	v := h.judge()
	return v.answer(v.Fit()), nil
}

// live is GET /api/health/live: 200 if the database's processes answer, also to say that they start, stop, are full
// or know no such user.
func (h *health) live(*http.Request) (answer, error) {
	v := h.judge()
	alive := h.alive(v.snapshot)
	a := v.answer(alive)
	if alive {
		a.Message = "the server answers; " + a.Message
	} else if v.Status == probe.StatusDown {
		a.Message = "the server does not answer; " + a.Message
	}
	return a, nil
}

// detailed is GET /api/health/detailed: all there is to know.
func (h *health) detailed(*http.Request) (answer, error) {
	v := h.judge()
	s, now := v.snapshot, h.now()
	a := v.answer(v.Fit())
	if !s.OutageStart.IsZero() {
		a.Outage = &outageAnswer{Start: s.OutageStart.UTC(), Seconds: max(now.Sub(s.OutageStart).Seconds(), 0)}
	}
	for _, kind := range probeOrder {
		if r, on := s.Probes[kind]; on {
			a.Checks = append(a.Checks, h.check(s, kind, r, now))
		}
	}
	a.Server = &serverAnswer{
		Role: string(s.Server.Role), Version: s.Server.Version, StartTime: timeOrNil(s.Server.StartTime),
		SystemIdentifier: s.Server.SystemIdentifier, Timeline: s.Server.Timeline, ReplayLag: replayLag(s),
	}
	return a, nil
}

func (h *health) check(s probe.Snapshot, kind probe.Kind, r probe.Result, now time.Time) checkAnswer {
	c := checkAnswer{Name: string(kind), Status: string(probe.StatusUnknown), Reason: string(probe.ReasonUnknown)}
	if r.At.IsZero() {
		return c
	}
	age, latency := max(now.Sub(r.At).Seconds(), 0), r.Latency.Seconds()
	c.Reason, c.Error = string(r.Reason), r.Error
	c.Since, c.CheckedAt, c.Age, c.Latency = timeOrNil(r.Since), timeOrNil(r.At), &age, &latency
	if _, stale := s.Stale(kind, now); stale {
		return c
	}
	c.Status = string(probe.StatusDown)
	if r.Reason == postgres.OK {
		c.Status = string(probe.StatusUp)
	}
	return c
}

// primary is GET /primary: 200 if the database is fit and takes writes by its role.
func (h *health) primary(*http.Request) (answer, error) {
	return h.role(probe.Primary, func(*answer) bool { return true })
}

// replica is GET /replica: 200 if the database is fit and a standby, and with ?max_lag=10s only if its replay is
// known to be no further behind.
func (h *health) replica(r *http.Request) (answer, error) {
	maxLag := time.Duration(-1)
	if values, given := r.URL.Query()["max_lag"]; given {
		var err error
		if maxLag, err = parseMaxLag(values[0]); err != nil {
			return answer{}, err
		}
	}
	return h.role(probe.Standby, func(a *answer) bool {
		switch {
		case maxLag < 0:
			return true
		case a.ReplayLag == nil:
			a.Message = "the standby's replay lag is unknown"
			return false
		case *a.ReplayLag > maxLag.Seconds():
			a.Message = fmt.Sprintf("the standby's replay is %.3gs behind, more than %s", *a.ReplayLag, maxLag)
			return false
		}
		return true
	})
}

func (h *health) role(want probe.Role, also func(*answer) bool) (answer, error) {
	v := h.judge()
	a := v.answer(false)
	if !v.Fit() {
		return a, nil // a role from before the outage says nothing
	}
	a.Role, a.ReplayLag = string(v.snapshot.Server.Role), replayLag(v.snapshot)
	if v.snapshot.Server.Role != want {
		a.Message = fmt.Sprintf("the server is not a %s", want)
		return a, nil
	}
	a.OK = also(&a)
	return a, nil
}

func parseMaxLag(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("max_lag %.40q is not a length of time. HINT: Write a number and a unit, such as ?max_lag=10s or ?max_lag=500ms",
			text)
	}
	return d, nil
}

func replayLag(s probe.Snapshot) *float64 {
	if s.Server.Role != probe.Standby || s.Server.ReplayLag < 0 {
		return nil
	}
	seconds := s.Server.ReplayLag.Seconds()
	return &seconds
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// ask serves one question about the database. GET has a body; HEAD and OPTIONS, which load balancers send, have the
// same status alone.
func ask(question func(*http.Request) (answer, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, err := question(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		status := http.StatusOK
		if !a.OK {
			status = http.StatusServiceUnavailable
		}
		w.WriteHeader(status)
		if r.Method == http.MethodGet {
			_ = json.NewEncoder(w).Encode(a) // the client may have left; there is nobody to tell
		}
	})
}
