package gather

import (
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/sessions"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// Samples tell what sessions do; *sessions.Watcher is one.
type Samples interface {
	Newest() (sessions.Sample, bool)
	Tree() *sessions.Tree
}

// sampleFresh is how old a sample may be to tell of now.
const sampleFresh = 15 * time.Second

// SessionsOf says what sessions do now; it is nil while nothing is known.
func SessionsOf(from Samples, now time.Time) *status.Sessions {
	if from == nil {
		return nil
	}
	s, ok := from.Newest()
	if !ok || now.Sub(s.At) > sampleFresh {
		return nil
	}
	out := &status.Sessions{
		SampledAt: s.At, Used: s.Used, Max: s.Max, Active: s.Active, IdleInTransaction: s.IdleInTransaction, Blocked: s.Blocked,
		OldestTransactionSeconds: s.OldestSeconds, Waits: []status.SessionWait{}, Blocking: []status.Blocking{},
	}
	for _, w := range s.Waits {
		out.Waits = append(out.Waits, status.SessionWait{Event: w.Event, Sessions: w.Sessions})
	}
	if t := from.Tree(); t != nil {
		out.BlockingAt, out.Blocked = timeOf(t.At), max(out.Blocked, t.Waiting())
		for _, n := range t.Nodes {
			out.Blocking = append(out.Blocking, status.Blocking{
				PID: n.PID, Depth: n.Depth, User: n.User, Application: n.Application, Backend: n.Backend, State: n.State, Wait: n.Wait,
				TransactionSeconds: n.TransactionSeconds, StateSeconds: n.StateSeconds, Blocks: n.Blocks, BlockedBy: n.BlockedBy,
				Statement: n.Statement, Remedy: n.Remedy,
			})
		}
	}
	return out
}
