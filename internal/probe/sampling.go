package probe

import (
	"context"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/sessions"
)

// querySampled is a read that a sample of sessions follows in the same round trip. The read is told as soon as its own answer is
// there: a sample that is slow, denied or cut says nothing of it. It reports false when the session is over.
func (k *kept) querySampled(ctx context.Context, start time.Time) bool {
	var refused error
	var answered time.Time
	statement := postgres.Statement{SQL: sessions.SQL, Timeout: k.r.p.o.sampleTimeout(), MaxBytes: sessions.MaxBytes}
	rows, err := k.session.QueryWith(ctx, k.interview.sql, statement, func(rows [][]*string, err error) {
		if refused = err; err != nil {
			return
		}
		answered = time.Now()
		k.owes.Store(true)
		server, err := k.interview.conclude(ctx, k.session, rows, nil)
		k.answer(start, server, err)
	})
	k.owes.Store(false)
	if refused != nil {
		server, err := k.interview.conclude(ctx, k.session, nil, refused)
		return k.answer(start, server, err)
	}
	now := time.Now()
	k.r.p.sessions.Take(answered, now.Sub(answered), rows, err)
	if k.session.Broken() {
		k.tell(func() { k.r.broke(err) })
		return false
	}
	return true
}

// sampleTimeout is when the server cuts a sample: well before the read that follows could be late for it.
func (o Options) sampleTimeout() time.Duration {
	limit := o.ReadTimeout / 2
	if o.Connector == nil {
		return limit
	}
	if set := o.Connector.StatementTimeout(); set > 0 && set < limit {
		return set
	}
	return limit
}
