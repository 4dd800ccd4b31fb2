// Package schedule says when backups are due and whether one is missing, and runs them: one at a time, in a time zone,
// across clock changes and downtime.
package schedule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	cron "github.com/netresearch/go-cron"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

var (
	errNoNumber = errors.New("a field is no number")
	errQuotes   = errors.New("quotes are a part of it")
)

// Plan is a cron expression in a time zone.
type Plan struct {
	Expression string
	Location   *time.Location
	schedule   cron.Schedule
}

// Parse reads a cron expression: five fields, six with seconds first, or @daily, @every 1h and the like. Where day of month and weekday
// are both given, either is enough, as in crontab(5). At the spring change of the clock a time that does not exist is served when it would
// have been. In autumn a time that comes twice is served once, unless the expression is for every hour.
func Parse(expression string, location *time.Location) (Plan, error) {
	const fields = cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor
	parser, err := cron.TryNewParser(fields | eitherDay(expression))
	if err != nil {
		return Plan{}, fmt.Errorf("make a cron parser: %w", err)
	}
	s, err := parser.Parse(expression)
	if err != nil {
		return Plan{}, refused(expression, err)
	}
	p := Plan{Expression: expression, Location: location, schedule: s}
	if p.Next(time.Now()).IsZero() {
		return Plan{}, failure.New(failure.Config, "schedule %q never comes due", expression)
	}
	return p, nil
}

// refused says what is wrong with an expression, without the library's words for a field that is no number.
func refused(expression string, err error) error {
	hint := "Five fields (minute hour day month weekday) such as \"0 2 * * *\", or @daily, or @every 6h."
	if n := (*strconv.NumError)(nil); errors.As(err, &n) {
		err = fmt.Errorf("%w: %q", errNoNumber, n.Num)
	}
	if strings.ContainsAny(expression, `"'`) {
		err, hint = errQuotes, "Leave out the inner quotes: no shell takes them away here. "+hint
	}
	return failure.New(failure.Config, "schedule %q: %w", expression, err).WithHint("%s", hint)
}

// eitherDay is the parser's option by which a day of month or a weekday is enough. So it is by crontab(5) where both are restricted; a
// field that begins with a star is not.
func eitherDay(expression string) cron.ParseOption {
	fields := strings.Fields(expression)
	if len(fields) < 5 || strings.ContainsAny(fields[len(fields)-3][:1]+fields[len(fields)-1][:1], "*?") {
		return 0
	}
	return cron.DowOrDom
}

// Next is the first due time after t; zero when there is none within years.
//
// The library's answers at a change of the clock differ from one expression to the next, so it is asked for times on the
// wall's clock, which knows no change, and what they are in the plan's time zone is found here.
func (p Plan) Next(t time.Time) time.Time {
	t = t.Round(0)
	if p.every() > 0 {
		return p.schedule.Next(t.In(p.Location)).Round(0)
	}
	if next, ok := p.nextFarFromChange(t); ok {
		return next
	}
	var best time.Time
	// A wall's time is at most this far from where it would be without the change.
	for wall := p.schedule.Next(p.wall(t.Add(-nearChange))); !wall.IsZero(); wall = p.schedule.Next(wall) {
		for _, at := range p.instants(wall) {
			if at.After(t) && (best.IsZero() || at.Before(best)) {
				best = at
			}
		}
		if !best.IsZero() && wall.After(p.wall(best).Add(nearChange)) || wall.Sub(p.wall(t)) > 2*nearChange && p.nearNoChange(wall) {
			if best.IsZero() {
				best = p.instants(wall)[0]
			}
			break
		}
	}
	return best
}

// nearChange is more than any clock is set back or forward by.
const nearChange = 3 * time.Hour

// nextFarFromChange is Next where no change of the clock is near.
func (p Plan) nextFarFromChange(t time.Time) (time.Time, bool) {
	wall := p.schedule.Next(p.wall(t))
	if wall.IsZero() {
		return time.Time{}, true
	}
	next := p.instants(wall)[0]
	return next, next.After(t) && p.steady(t) && p.steady(next)
}

// steady says that no change of the clock is near.
func (p Plan) steady(t time.Time) bool {
	_, before := t.Add(-nearChange).In(p.Location).Zone()
	_, now := t.In(p.Location).Zone()
	_, after := t.Add(nearChange).In(p.Location).Zone()
	return before == now && now == after
}

func (p Plan) nearNoChange(wall time.Time) bool { return p.steady(p.instants(wall)[0]) }

// wall is what a clock in the plan's time zone shows, as if it were UTC.
func (p Plan) wall(t time.Time) time.Time {
	_, offset := t.In(p.Location).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// everyHour has the bits of the 24 hours.
const everyHour = 1<<24 - 1

// instants are the moments at which a plan's wall time is served: one that comes twice the first time, and again where the plan is for
// every hour; one that is skipped when it would have been.
func (p Plan) instants(wall time.Time) []time.Time {
	_, early := wall.Add(-nearChange * 8).In(p.Location).Zone() // a day before, in any zone
	_, late := wall.Add(nearChange * 8).In(p.Location).Zone()
	first := wall.Add(-time.Duration(early) * time.Second).In(p.Location)
	if early == late {
		return []time.Time{first}
	}
	second := wall.Add(-time.Duration(late) * time.Second).In(p.Location)
	switch a, b := p.wall(first).Equal(wall), p.wall(second).Equal(wall); {
	case a && b: // twice
		if spec, ok := p.schedule.(*cron.SpecSchedule); ok && spec.Hour&everyHour == everyHour {
			return []time.Time{first, second}
		}
		return []time.Time{first}
	case b:
		return []time.Time{second}
	}
	return []time.Time{first} // once, or skipped: by the clock of before
}

// farthest is how far back the last due time is looked for: a day that comes once in four years comes once in eight
// around 2100.
const farthest = 9 * 366 * 24 * time.Hour

// Last is the latest due time that is not after t; zero when there is none within years. A plan of the form @every has no
// due times of its own: Last is zero then.
func (p Plan) Last(t time.Time) time.Time {
	if p.every() > 0 {
		return time.Time{}
	}
	due := func(before time.Duration) (time.Time, bool) {
		next := p.Next(t.Add(-before))
		return next, !next.IsZero() && !next.After(t)
	}
	back := time.Second
	found, ok := due(back)
	for !ok {
		if back *= 2; back > farthest {
			return time.Time{}
		}
		found, ok = due(back)
	}
	// There is one within back, and none within half of it: between the two lies the last.
	for low, high := back/2, back; high-low > 1; {
		middle := low + (high-low)/2
		if at, ok := due(middle); ok {
			found, high = at, middle
		} else {
			low = middle
		}
	}
	return found
}

// every is the delay of a plan of the form @every, else 0.
func (p Plan) every() time.Duration {
	if c, ok := p.schedule.(cron.ConstantDelaySchedule); ok {
		return c.Delay
	}
	return 0
}

// Interval is the time between the last due time before t, or t, and the next after it; 0 when it is unknown.
func (p Plan) Interval(t time.Time) time.Duration {
	if d := p.every(); d > 0 {
		return d
	}
	last, next := p.Last(t), p.Next(t)
	if last.IsZero() || next.IsZero() {
		return 0
	}
	return next.Sub(last)
}
