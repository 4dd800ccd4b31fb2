package fleet

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/sessions"
)

const (
	// storiesKept and storiesBytes bound what is kept on the disk of the incidents of one listed target.
	storiesKept  = 20
	storiesBytes = 2 << 20
)

// KeepStories keeps what is known of each outage of the target, and looks closer at its sessions while somebody waits. It is called once,
// before Run.
func (t *Target) KeepStories(o incident.Options) {
	t.Incidents = incident.NewRecorder(o)
	t.Prober.OnOutcome(t.Incidents.Outcome)
	t.Sessions = sessions.NewWatcher(t.Prober.Sessions(), t.askAside, o.Show, o.Logger, t.Incidents.Sessions)
	age := 0 // of the pool; the prober's goroutine alone has it
	t.Prober.OnOutcome(func(o probe.Outcome, _ probe.Snapshot) {
		if now := t.Pool.Age(); now != age || !o.Skipped && o.Reason != postgres.OK && o.Reason != postgres.Timeout {
			age = now
			t.Sessions.Anew() // also a role that was changed is read anew
		}
		if o.Kind == probe.Login && !o.Skipped {
			t.Sessions.LoginHangs(o.Reason == postgres.Timeout)
		}
	})
}

// askAside asks over a session of the pool, so that the prober waits for nothing.
func (t *Target) askAside(ctx context.Context, sql string) ([][]*string, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*sessions.LookTimeout)
	defer cancel()
	lease, err := t.Pool.Acquire(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer lease.Release()
	var rows [][]*string
	began := time.Now()
	statement := postgres.Statement{SQL: sql, Timeout: sessions.LookTimeout, MaxBytes: sessions.LookBytes}
	outcomes, err := lease.Pipeline(ctx, []postgres.Statement{statement}, func(_ int, _ []pgconn.FieldDescription, values [][]byte) {
		row := make([]*string, len(values))
		for i, v := range slices.All(values) {
			if v != nil {
				text := string(v)
				row[i] = &text
			}
		}
		rows = append(rows, row)
	})
	if err == nil {
		err = outcomes[0].Err
	}
	return rows, time.Since(began), err
}

// Incidents are the stories of a listed target; nil where it has none, or there is no such target.
func (f *Fleet) Incidents(name string) *incident.Recorder {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.byName[name]; w != nil {
		return w.Incidents
	}
	return nil
}
