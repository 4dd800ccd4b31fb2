package collector

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

const (
	// listEvery is how often the server is asked which databases it has.
	listEvery = 30 * time.Second
	// listAgain is when it is asked again, where it did not answer.
	listAgain = time.Second
	// mostDatabases are visited; those behind them, by name, are counted.
	mostDatabases = 1000
	// visitTimeout bounds a whole visit. DROP DATABASE waits five seconds for sessions such as ours, which is longer than visits usually take.
	visitTimeout = time.Minute
	// visitConnect bounds the login, which hangs where somebody holds a lock on a catalogue.
	visitConnect = 5 * time.Second
	// firstRevisit after a database turned us away; doubled up to lastRevisit.
	firstRevisit = 30 * time.Second
	lastRevisit  = 15 * time.Minute
	// sameInLog databases that turn us away for one reason are in the log; of the others the metrics tell.
	sameInLog = 5
	// calmTimes as long is a collector's interval in a database where nobody was but us since it ran there.
	calmTimes = 5
	// sameVisit collectors whose time comes this soon are run in the same visit.
	sameVisit = 2 * time.Second
)

// Databases say which databases are visited beside the connection's own, by the collectors whose scope they are.
type Databases struct {
	// Connect opens a session in a database; nil visits none.
	Connect func(ctx context.Context, database string) (*postgres.Session, error)
	// Include and Exclude are patterns of names, as path.Match has them. Without Include all are meant.
	Include, Exclude []string
}

// CheckPatterns returns an error for the first pattern that can't be read.
func CheckPatterns(patterns []string) error {
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("%q can't be read as a pattern of names. HINT: * "+
				"stands for any text, ? for one character, [a-z] for one of these characters", p)
		}
	}
	return nil
}

func (d Databases) wants(name string) bool {
	matches := func(pattern string) bool { ok, _ := path.Match(pattern, name); return ok }
	return (len(d.Include) == 0 || slices.ContainsFunc(d.Include, matches)) && !slices.ContainsFunc(d.Exclude, matches)
}

// visitPace is how soon the visits come one after the other.
type visitPace struct {
	list    time.Duration // how often the server is asked which databases it has
	revisit time.Duration // after a database turned us away the first time
	apart   time.Duration // between two visits, on average and at the least
}

// visits are the databases beside the connection's own.
type visits struct {
	options Databases
	pace    visitPace

	mu        sync.Mutex
	databases map[string]*visited
	left      map[string]int // left out, by reason
}

// visited is what is known of one of them.
type visited struct {
	name      string
	ran       bool
	success   bool
	since     time.Time // it was listed first
	at        time.Time // of the newest visit in which everything succeeded
	errors    map[postgres.Reason]uint64
	logged    postgres.Reason // what the last line in the log said
	notBefore time.Time
	pause     time.Duration
	// sessions is how many there have been in it, if there were none but ours since it was listed last, and others when somebody else was
	// there last, as far as is known.
	sessions int64
	others   time.Time
}

// names lists them, in no order.
func (v *visits) names() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Collect(maps.Keys(v.databases))
}

// count is how many there are.
func (v *visits) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.databases)
}

// logged is how many databases turn us away for a reason.
func (v *visits) logged(reason postgres.Reason) (n int) {
	for _, d := range v.databases {
		if d.logged == reason {
			n++
		}
	}
	return n
}

// emit says how the visits fare.
func (v *visits) emit(add func(*metric.Desc, float64, ...string), now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(v.databases)) {
		d := v.databases[name]
		if !d.ran {
			continue
		}
		at := d.at
		if at.IsZero() {
			at = d.since
		}
		add(visitSuccess, metric.Bool(d.success), name)
		add(visitAge, now.Sub(at).Seconds(), name)
		for _, reason := range slices.Sorted(maps.Keys(d.errors)) {
			add(visitErrors, float64(d.errors[reason]), name, string(reason))
		}
	}
	for _, why := range slices.Sorted(maps.Keys(v.left)) {
		add(databasesLeftOut, float64(v.left[why]), why)
	}
}

// visitDatabases is the one worker for all other databases: it has one connection at the most, and none between two visits.
func (e *Engine) visitDatabases(ctx context.Context) {
	var listedAt time.Time
	for {
		wait := whileDown
		if down, _ := known(e.prober.Snapshot()); !down {
			if time.Since(listedAt) >= e.visits.pace.list && e.listDatabases(ctx) == nil {
				listedAt = time.Now()
			}
			var v *visited
			var units []*queryUnit
			if v, units, wait = e.nextVisit(time.Now()); v == nil {
				wait = min(wait, max(time.Until(listedAt.Add(e.visits.pace.list)), listAgain))
			} else {
				wait = 0
				e.processors.Work(func() {
					if e.visit(ctx, v, units) == postgres.NoDatabase {
						listedAt = time.Time{} // dropped or renamed
					}
				})
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// nextVisit is the database that waits longest and the collectors that are due in it, or how long until there is one.
func (e *Engine) nextVisit(now time.Time) (*visited, []*queryUnit, time.Duration) {
	var units []*queryUnit
	for _, u := range e.units(Selection{}) {
		if u.def.Scope == definition.ScopeDatabase && !u.def.Live() {
			units = append(units, u)
		}
	}
	var first *visited
	at := now.Add(idleCheck)
	e.visits.mu.Lock()
	defer e.visits.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(e.visits.databases)) {
		v := e.visits.databases[name]
		for _, u := range units {
			next := u.dueIn(v)
			if next.Before(v.notBefore) {
				next = v.notBefore
			}
			if next.Before(at) {
				first, at = v, next
			}
		}
	}
	if wait := at.Sub(now); wait > 0 {
		return nil, nil, wait
	}
	units = slices.DeleteFunc(units, func(u *queryUnit) bool { return u.dueIn(first).After(now.Add(sameVisit)) })
	return first, units, 0
}

// dueIn is when a collector is to run in a database, called with the lock of the visits held.
func (u *queryUnit) dueIn(v *visited) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.apart[v.name]
	if p.at.IsZero() || p.failed || !v.others.Before(p.at) {
		return p.next
	}
	return p.calm
}

// visit runs collectors in one database, and returns why that failed.
func (e *Engine) visit(ctx context.Context, v *visited, units []*queryUnit) postgres.Reason {
	ctx, cancel := context.WithTimeout(ctx, visitTimeout)
	defer cancel()
	collector, err := e.runIn(ctx, v.name, units)
	now := time.Now()
	reason := postgres.ReasonOf(err)
	e.visits.mu.Lock()
	defer e.visits.mu.Unlock()
	v.ran, v.success = true, err == nil
	if err == nil {
		if v.logged != "" {
			_ = level.Info(e.logger).Log("msg", "database can be visited again", "datname", v.name)
		}
		v.at, v.logged, v.pause, v.notBefore = now, "", 0, time.Time{}
		return postgres.OK
	}
	v.errors[reason]++
	if collector == "" { // it was not let in, or its connection broke
		v.pause = min(max(2*v.pause, e.visits.pace.revisit), lastRevisit)
		v.notBefore = now.Add(v.pause)
	}
	if v.logged != reason {
		logger := level.Warn(e.logger)
		if e.visits.logged(reason) >= sameInLog {
			logger = level.Debug(e.logger) // a server that lets the role into one database alone says so a few times
		}
		v.logged = reason
		_ = logger.Log("msg", "database can't be visited: its rows alone are missing", "datname", v.name, "collector", collector,
			"reason", reason, "err", err)
	}
	return reason
}

// came counts a session of ours.
func (v *visits) came(database string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if d := v.databases[database]; d != nil && d.sessions >= 0 {
		d.sessions++
	}
}

// runIn runs collectors in one database. Where one of them alone failed, it is named beside its error.
func (e *Engine) runIn(ctx context.Context, database string, units []*queryUnit) (collector string, err error) {
	login, cancel := context.WithTimeout(ctx, visitConnect)
	session, err := e.visits.options.Connect(login, database)
	cancel()
	if err != nil {
		return "", err
	}
	defer session.Close()
	e.visits.came(database)
	extensions, functions := needs(units)
	f, err := factsOf(ctx, session, extensions, functions)
	if err != nil {
		return "", fmt.Errorf("read what the queries depend on: %w", err)
	}
	role := e.prober.Snapshot().Server.Role
	for _, u := range units {
		lost, failed := e.runApart(ctx, session, f, role, database, u)
		if lost {
			return "", failed
		}
		if failed != nil && err == nil {
			collector, err = u.def.Name, failed
		}
	}
	return collector, err
}

// runApart runs one collector in a session of another database, and says whether that cost the session.
func (e *Engine) runApart(ctx context.Context, session *postgres.Session, f facts, role probe.Role, database string,
	u *queryUnit) (lost bool, err error) {
	p := portion{asked: asked{top: e.share(u, database)}}
	began, took := time.Now(), time.Duration(0)
	u.mu.Lock()
	run := e.memory.share.Begin(u.apart[database].samples.Cost())
	u.mu.Unlock()
	defer run.End()
	sql, _, why := f.query(u.def, session.Version(), p.top, role)
	if why == "" {
		timeout := min(u.def.Timeout, visitTimeout/2)
		u.mu.Lock()
		before := u.apart[database].samples
		u.mu.Unlock()
		d := definition.NewDecoder(u.def.MetricsFor(session.Version()), e.roomApart(u, database), e.roomBeside(u)).
			Within(run).Expect(before.Len())
		statement := postgres.Statement{SQL: sql, Timeout: timeout, MaxBytes: backgroundBytes, Undo: !u.def.BuiltIn}
		outcomes, broken := session.Pipeline(ctx, []postgres.Statement{statement},
			func(_ int, fields []pgconn.FieldDescription, values [][]byte) { p.rows++; d.Row(fields, values) })
		err, lost, took = outcomes[0].Err, broken != nil, outcomes[0].Duration
		p.samples, p.want = e.shown.Batch(d.Samples(), before), d.Want()
		u.status.reject(e.logger, u.def.Name, metric.TooMany, d.Dropped, e.tooMany())
		u.status.reject(e.logger, u.def.Name, metric.NoMemory, d.Starved, e.memory.short())
		if d.Malformed > 0 {
			u.status.reject(e.logger, u.def.Name, metric.Malformed, d.Malformed, d.Err.Error())
		}
	}
	now := time.Now()
	interval := max(u.pace(took), time.Duration(e.visits.count())*e.visits.pace.apart)
	defer e.account(run) // behind the lock
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil {
		p = u.apart[database] // what was read before is shown until it is too old
	} else {
		p.at, p.every = began, calmTimes*interval
	}
	p.failed = err != nil
	p.next, p.calm = slot(now, interval, database), slot(now, calmTimes*interval, database)
	if errors.Is(err, postgres.ErrTooMuch) {
		p.next = now.Add(interval)
	}
	if u.apart == nil {
		u.apart = map[string]portion{}
	}
	u.apart[database] = p
	return lost, placed(u.def, err)
}

// roomApart is the room that a collector's rows of all other databases leave those of one.
func (e *Engine) roomApart(u *queryUnit, database string) *metric.Room {
	r := metric.RoomFor(e.maxSamples)
	u.mu.Lock()
	defer u.mu.Unlock()
	r.Samples, r.Text = r.Samples-u.cached.Len(), r.Text-u.cached.Text()
	for name, p := range u.apart {
		if name != database {
			r.Samples, r.Text = r.Samples-p.samples.Len(), r.Text-p.samples.Text()
		}
	}
	return r
}

// slot is a database's own moment in each interval, the next that is not right now, so that visits are spread over the interval.
func slot(now time.Time, interval time.Duration, database string) time.Time {
	h := fnv.New64a()
	_, _ = h.Write([]byte(database))
	at := now.Truncate(interval).Add(time.Duration(h.Sum64() % uint64(interval)))
	for at.Before(now.Add(interval / 2)) {
		at = at.Add(interval)
	}
	return at
}
