// Package retention decides which backups stay. It is a pure function from a catalogue and a policy to
// one decision a backup, with its reasons; nothing here deletes anything.
//
// What holds whatever the policy: only good backups count; the newest verified one stays; a backup that
// another kept one builds upon stays; a suspect backup pauses all deletions of its kind; and a failed run
// deletes nothing, because it adds nothing that counts.
package retention

import (
	"fmt"
	"sort"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Policy says how many good backups of each set stay.
type Policy struct {
	// Keep is the number of newest ones; at least 1.
	Keep int
	// Daily, Weekly and Monthly keep the newest of that many days, ISO weeks and months that have one.
	Daily, Weekly, Monthly int
	// Location decides where a day begins; nil means UTC.
	Location *time.Location
}

// Check reports a policy that can't be meant.
func (p Policy) Check() error {
	if p.Keep < 1 || p.Daily < 0 || p.Weekly < 0 || p.Monthly < 0 {
		return failure.New(failure.Config, "retention keeps %d newest, %d daily, %d weekly, %d monthly", p.Keep, p.Daily, p.Weekly, p.Monthly).
			WithHint("--keep must be at least 1, the others at least 0.")
	}
	return nil
}

// Decision is what becomes of one backup.
type Decision struct {
	Backup  catalog.Backup `json:"-"`
	ID      string         `json:"id"`
	Keep    bool           `json:"keep"`
	Reasons []string       `json:"reasons"` // why it stays, or the one why it goes
}

// Plan decides on every backup of a list, in its order (newest first, as catalog.List returns it).
func Plan(all []catalog.Backup, p Policy) []Decision {
	if p.Location == nil {
		p.Location = time.UTC
	}
	p.Keep = max(p.Keep, 1)
	decisions := make([]Decision, len(all))
	kinds := map[string][]*Decision{}
	var names []string
	for i, b := range all {
		decisions[i] = Decision{Backup: b, ID: b.ID}
		kind := b.Manifest.Engine + "/" + b.Manifest.Set
		if kinds[kind] == nil {
			names = append(names, kind)
		}
		kinds[kind] = append(kinds[kind], &decisions[i])
	}
	sort.Strings(names)
	for _, name := range names {
		p.plan(kinds[name], all)
	}
	return decisions
}

// plan decides on the backups of one engine and set.
func (p Policy) plan(ds []*Decision, all []catalog.Backup) {
	sort.SliceStable(ds, func(a, b int) bool { return ds[a].Backup.Sequence > ds[b].Backup.Sequence })
	good := 0
	verified := false
	buckets := []struct {
		name string
		n    int
		of   func(time.Time) string
		seen map[string]bool
	}{
		{"daily", p.Daily, func(t time.Time) string { return t.Format("2006-01-02") }, map[string]bool{}},
		{"weekly", p.Weekly, func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprintf("%04d-W%02d", y, w) }, map[string]bool{}},
		{"monthly", p.Monthly, func(t time.Time) string { return t.Format("2006-01") }, map[string]bool{}},
	}
	for _, d := range ds {
		b := d.Backup
		if !b.Health.Good() {
			continue
		}
		if good++; good <= p.Keep {
			d.keep("newest %d of %d", good, p.Keep)
		}
		if b.Health == catalog.Verified && !verified {
			verified = true
			d.keep("newest verified")
		}
		for _, k := range buckets {
			day := k.of(b.Manifest.RecoveryPoint.In(p.Location))
			if len(k.seen) < k.n && !k.seen[day] {
				k.seen[day] = true
				d.keep("%s %s", k.name, day)
			}
		}
	}
	p.keepUnusable(ds, all)
	keepChains(ds)
	for _, d := range ds {
		if d.Backup.Health == catalog.IsSuspect {
			for _, other := range ds {
				if !other.Keep {
					other.keep("pruning is paused: %s is suspect (%s)", d.ID, d.Backup.Problem)
				}
			}
			return
		}
	}
	for _, d := range ds {
		if !d.Keep {
			d.Reasons = []string{fmt.Sprintf("beyond the newest %d", p.Keep)}
			if d.Backup.Health == catalog.Damaged {
				d.Reasons = []string{fmt.Sprintf("damaged, and %d newer good ones exist", p.Keep)}
			}
		}
	}
}

// keepUnusable keeps damaged and suspect backups, which may be the last trace of something, until as
// many newer good ones exist as the policy wants.
func (p Policy) keepUnusable(ds []*Decision, all []catalog.Backup) {
	for _, d := range ds {
		if d.Backup.Health.Good() {
			continue
		}
		newer := 0
		for _, b := range all {
			same := b.Manifest.Engine == d.Backup.Manifest.Engine && b.Manifest.Set == d.Backup.Manifest.Set ||
				d.Backup.Manifest.Engine == "" // a lost manifest: its kind is unknown
			if same && b.Health.Good() && b.Sequence > d.Backup.Sequence {
				newer++
			}
		}
		if newer < p.Keep || d.Backup.Health == catalog.IsSuspect {
			d.keep("%s; %d newer good ones", d.Backup.Health, newer)
		}
	}
}

// keepChains keeps what kept incremental backups build upon.
func keepChains(ds []*Decision) {
	byLabel := map[string]*Decision{}
	for _, d := range ds {
		if x := d.Backup.Manifest.External; x != nil {
			byLabel[x.Label] = d
		}
	}
	for _, d := range ds { // newest first: a chain is followed in one pass
		if x := d.Backup.Manifest.External; x != nil && d.Keep && x.Prior != "" {
			if prior := byLabel[x.Prior]; prior != nil {
				prior.keep("%s builds upon it", d.ID)
			}
		}
	}
}

func (d *Decision) keep(format string, args ...any) {
	d.Keep = true
	d.Reasons = append(d.Reasons, fmt.Sprintf(format, args...))
}
