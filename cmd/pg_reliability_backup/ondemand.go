package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/job"
)

const (
	// minToken is the shortest token that is taken: 16 random characters can't be guessed over a network.
	minToken = 16
	// tokenHeader is for where basic authentication has taken the Authorization header.
	tokenHeader = "X-Backup-Token"
	// byRequest is the trigger of a backup that was asked for over HTTP.
	byRequest = "request"
)

// onDemand is /-/backup: it takes requests for a backup now, and tells how far it is. One is made at a time, whoever
// asked for it.
type onDemand struct {
	tokenFile string
	asked     chan struct{} // holds a request until the schedule takes it
	log       log.Logger

	mu      sync.Mutex
	waiting bool
	running *runStatus
	last    *runEnd
}

// runStatus is a run in progress.
type runStatus struct {
	Trigger string    `json:"trigger"` // "schedule" or "request"
	Since   time.Time `json:"since"`
	// Phase is what it does now; bytes of how many, where known.
	Phase string `json:"phase,omitempty"`
	Bytes int64  `json:"bytes"`
	Total int64  `json:"total_bytes,omitempty"`
}

// runEnd is how the newest run since the program's start ended.
type runEnd struct {
	Trigger string         `json:"trigger"`
	Started time.Time      `json:"started_at"`
	Ended   time.Time      `json:"ended_at"`
	Result  string         `json:"result"` // "success": a backup was published; "failure"
	ID      string         `json:"id,omitempty"`
	State   string         `json:"state,omitempty"` // of the backup, such as "verified"
	Reason  failure.Reason `json:"reason,omitempty"`
	// Message is the failure's text, also of one after the publication, such as a verification's.
	Message string `json:"message,omitempty"`
}

// onDemandAnswer is what GET and POST /-/backup answer.
type onDemandAnswer struct {
	Accepted bool       `json:"accepted"` // this request was taken
	Waiting  bool       `json:"waiting"`  // a request was taken and its run has not begun
	Running  *runStatus `json:"running"`
	Last     *runEnd    `json:"last"`
	Error    string     `json:"error,omitempty"`
}

func newOnDemand(tokenFile string, logger log.Logger) (*onDemand, error) {
	o := &onDemand{tokenFile: tokenFile, asked: make(chan struct{}, 1), log: logger}
	_, err := o.token()
	return o, err
}

// token is read each time: who changes the file needs no restart.
func (o *onDemand) token() (string, error) {
	b, err := os.ReadFile(o.tokenFile)
	if err != nil {
		return "", failure.New(failure.Config, "--web.backup-token-file: %w", err).
			WithHint("Make one, readable for this user, with: (umask 077; openssl rand -hex 32 >FILE)")
	}
	token := strings.TrimSpace(string(b))
	if len(token) < minToken {
		return "", failure.New(failure.Config, "--web.backup-token-file: %s holds %d characters, at least %d are needed", o.tokenFile, len(token),
			minToken).
			WithHint("Make one with: openssl rand -hex 32")
	}
	return token, nil
}

// begin is called when a run begins.
func (o *onDemand) begin(trigger string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if trigger == byRequest {
		o.waiting = false
	}
	o.running = &runStatus{Trigger: trigger, Since: time.Now().UTC()}
}

// end is called when it has ended.
func (o *onDemand) end(res job.Result, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	e := &runEnd{Trigger: o.running.Trigger, Started: o.running.Since, Ended: time.Now().UTC(), Result: "failure"}
	if err != nil {
		e.Reason, e.Message = failure.Of(err), err.Error()
	}
	if res.Backup != nil {
		e.Result, e.ID, e.State = "success", res.Backup.ID, string(res.Backup.Health)
	}
	o.running, o.last = nil, e
}

// progress is the job's own.
func (o *onDemand) progress(phase string, done, total int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.running != nil {
		o.running.Phase, o.running.Bytes, o.running.Total = phase, done, total
	}
}

func (o *onDemand) answer() onDemandAnswer {
	a := onDemandAnswer{Waiting: o.waiting, Last: o.last}
	if o.running != nil {
		running := *o.running
		a.Running = &running
	}
	return a
}

// ask takes a request, unless there is one already or a run goes on.
func (o *onDemand) ask() (onDemandAnswer, int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting || o.running != nil {
		a := o.answer()
		a.Error = "A backup is under way."
		return a, http.StatusConflict
	}
	o.waiting = true
	o.asked <- struct{}{} // has room: nobody waits
	a := o.answer()
	a.Accepted = true
	return a, http.StatusAccepted
}

func (o *onDemand) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /-/backup", func(w http.ResponseWriter, _ *http.Request) {
		o.mu.Lock()
		a := o.answer()
		o.mu.Unlock()
		respond(w, http.StatusOK, a)
	})
	mux.HandleFunc("POST /-/backup", func(w http.ResponseWriter, r *http.Request) {
		a, status := o.ask()
		_ = level.Info(o.log).Log("msg", "a backup was asked for", "from", r.RemoteAddr, "accepted", a.Accepted)
		respond(w, status, a)
	})
	// A page in somebody's browser must not be able to ask.
	return http.NewCrossOriginProtection().Handler(o.authenticated(mux))
}

// authenticated lets those pass who show the token.
func (o *onDemand) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want, err := o.token()
		if err != nil {
			_ = level.Error(o.log).Log("msg", "nobody can be authenticated", "err", err)
			respond(w, http.StatusInternalServerError, onDemandAnswer{Error: "The token's file can't be read; the job's log says why."})
			return
		}
		got := r.Header.Get(tokenHeader)
		if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && got == "" {
			got = bearer
		}
		// Hashed first, so that the comparison tells nothing of the length either.
		a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
		if subtle.ConstantTimeCompare(a[:], b[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="backup"`)
			respond(w, http.StatusUnauthorized, onDemandAnswer{Error: fmt.Sprintf(
				"The token is missing or wrong. Send the content of --web.backup-token-file as Authorization: Bearer TOKEN, or as %s.", tokenHeader)})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func respond(w http.ResponseWriter, status int, a onDemandAnswer) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(a)
}
