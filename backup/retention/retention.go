// Package retention decides which backups stay. It is a pure function from a catalogue, what is known of its servers
// and a policy to one decision a backup, with its reasons; nothing here deletes anything.
//
// Backups are counted and kept within their kind: those of one line of servers, one engine and one set of databases.
// What holds whatever the policy:
//
//   - Only good backups count; a failed run deletes nothing, because it adds nothing that counts.
//   - The newest good one and the newest verified one stay.
//   - The newest good one, and the newest verified one, that hold a database which newer ones lack stay, until somebody
//     says that the database is gone for good.
//   - What a kept one builds upon stays.
//   - A backup that can't be read stays, and while there is one nothing at all is deleted: a disk or a mount that fails is no
//     time to delete.
//   - A suspect backup stays, and while there is one nothing of its kind is deleted.
package retention

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Policy says how many good backups of each kind stay.
type Policy struct {
	// Keep is the number of newest ones; at least 1.
	Keep int
	// Daily, Weekly and Monthly keep the newest of that many days, ISO weeks and months that have one.
	Daily, Weekly, Monthly int
	// Location decides where a day begins; nil means UTC.
	Location *time.Location
	// Server, a system identifier, limits deletions to the backups of that server and of those whose place it took: what others
	// keep in a shared repository is their own jobs' business. "" means all.
	Server string
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
func Plan(all []catalog.Backup, p Policy, servers catalog.Servers) []Decision {
	if p.Location == nil {
		p.Location = time.UTC
	}
	p.Keep = max(p.Keep, 1)
	servers = servers.With(all)
	decisions := make([]Decision, len(all))
	kinds := map[catalog.Kind][]*Decision{}
	for i, b := range all {
		decisions[i] = Decision{Backup: b, ID: b.ID}
		kind := servers.KindOf(b.Manifest)
		kinds[kind] = append(kinds[kind], &decisions[i])
	}
	good := goodSequences(all)
	for kind, ds := range kinds {
		sort.SliceStable(ds, func(a, b int) bool { return ds[a].Backup.Sequence > ds[b].Backup.Sequence })
		p.keepGood(ds)
		keepVanished(ds, kind, servers)
		p.keepUnusable(ds, kind, good)
		keepChains(ds)
		pause(ds, catalog.IsSuspect, ds)
		p.explain(ds)
	}
	every := make([]*Decision, len(decisions))
	for i := range decisions {
		every[i] = &decisions[i]
	}
	pause(every, catalog.Unreadable, every)
	for _, d := range every {
		if p.Server != "" && !d.Keep && servers.KindOf(d.Backup.Manifest).Server != servers.Line(p.Server) {
			d.Keep, d.Reasons = true, []string{"of another server"}
		}
	}
	return decisions
}

// keepGood keeps the good backups that the policy counts, and the newest verified one.
func (p Policy) keepGood(ds []*Decision) {
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
}

// keepVanished keeps the newest good backup, and the newest verified one, of each database that the newest good backup
// lacks. Where no good one holds it, the newest damaged one is its last trace.
func keepVanished(ds []*Decision, kind catalog.Kind, servers catalog.Servers) {
	here := map[string]bool{} // in the newest good one
	holders := map[string][]*Decision{}
	first := true
	for _, d := range ds {
		for _, db := range d.Backup.Manifest.Databases {
			if first && d.Backup.Health.Good() {
				here[db.Name] = true
			}
			if !here[db.Name] && !catalog.SetAside(db.Name) {
				holders[db.Name] = append(holders[db.Name], d)
			}
		}
		if d.Backup.Health.Good() {
			first = false
		}
	}
	for _, name := range slices.Sorted(maps.Keys(holders)) {
		if here[name] { // older than the newest good one, which has it
			continue
		}
		keepHolders(holders[name], kind, servers, name)
	}
}

// keepHolders keeps the best of the backups that hold a database, newest first.
func keepHolders(ds []*Decision, kind catalog.Kind, servers catalog.Servers, database string) {
	best := map[string]*Decision{}
	for _, d := range ds {
		if servers.IsGone(kind, database, d.Backup.Sequence) {
			break // and so is it from all older ones
		}
		rank := string(catalog.Damaged)
		switch {
		case d.Backup.Health == catalog.Verified:
			rank = string(catalog.Verified)
		case d.Backup.Health.Good():
			rank = "good"
		case d.Backup.Health != catalog.Damaged:
			continue // stays anyway
		}
		if best[rank] == nil {
			best[rank] = d
		}
	}
	if v, g := best[string(catalog.Verified)], best["good"]; v != nil && g != nil && v.Backup.Sequence > g.Backup.Sequence {
		best["good"] = nil
	}
	if best[string(catalog.Verified)] != nil || best["good"] != nil {
		best[string(catalog.Damaged)] = nil
	}
	for _, rank := range []string{string(catalog.Verified), "good", string(catalog.Damaged)} {
		if d := best[rank]; d != nil {
			d.keep("the newest %s one with database %s, which newer ones lack (`accept --database` lets it go)", rank, database)
		}
	}
}

// pause keeps all of some while one of others has a state.
func pause(ds []*Decision, state catalog.Health, all []*Decision) {
	for _, d := range ds {
		if d.Backup.Health != state {
			continue
		}
		for _, other := range all {
			if !other.Keep {
				other.Keep, other.Reasons = true, []string{fmt.Sprintf("pruning is paused: %s is %s (%s)", d.ID, state, d.Backup.Problem)}
			}
		}
		return
	}
}

// explain says of the rest why they go.
func (p Policy) explain(ds []*Decision) {
	for _, d := range ds {
		if !d.Keep {
			d.Reasons = []string{fmt.Sprintf("beyond the newest %d", p.Keep)}
			if d.Backup.Health == catalog.Damaged {
				d.Reasons = []string{fmt.Sprintf("damaged, and %d newer good ones exist", p.Keep)}
			}
		}
	}
}

// goodSequences are those of all good backups, ascending.
func goodSequences(all []catalog.Backup) []uint64 {
	var good []uint64
	for _, b := range all {
		if b.Health.Good() {
			good = append(good, b.Sequence)
		}
	}
	slices.Sort(good)
	return good
}

// keepUnusable keeps damaged backups, which may be the last trace of something, until as many newer good ones exist as the
// policy wants, and suspect and unreadable ones in any case. all has the sequences of good ones of every kind: of a backup whose
// manifest is lost, the kind is unknown.
func (p Policy) keepUnusable(ds []*Decision, kind catalog.Kind, all []uint64) {
	newer := 0
	for _, d := range ds { // newest first
		b := d.Backup
		if b.Health.Good() {
			newer++
			continue
		}
		n := newer
		if kind.Engine == "" {
			i, _ := slices.BinarySearch(all, b.Sequence+1)
			n = len(all) - i
		}
		if n < p.Keep || b.Health != catalog.Damaged {
			d.keep("%s; %d newer good ones", b.Health, n)
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
