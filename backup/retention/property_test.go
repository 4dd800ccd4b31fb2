package retention

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
)

// world is a random history of servers that share a repository: runs, faults, and a clock that jumps. Pruning happens now and
// then, by a random policy, and the invariants of docs/backup-format.md are asked after each.
type world struct {
	*rand.Rand
	clock    time.Time
	sequence uint64
	all      []catalog.Backup // newest first
	servers  catalog.Servers
	exists   map[string][]string // databases on each server
	log      []string
}

var (
	serverNames   = []string{"A", "B", "C"}
	databaseNames = []string{"shop", "mail", "wiki", "wiki_before_20261123T020000"}
	sets          = []string{"all", "shop"}
	engines       = []string{"pg_dump", "pgbackrest"}
)

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 0)), clock: time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC), exists: map[string][]string{}}
	for _, s := range serverNames {
		w.exists[s] = []string{"shop"}
	}
	return w
}

func (w *world) say(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

func (w *world) step() {
	switch n := w.IntN(20); {
	case n < 11:
		w.run()
	case n < 13:
		w.fault()
	case n < 15:
		s := serverNames[w.IntN(len(serverNames))]
		w.exists[s] = nil
		for _, d := range databaseNames {
			if w.IntN(3) > 0 {
				w.exists[s] = append(w.exists[s], d)
			}
		}
	case n == 15:
		w.clock = w.clock.Add(time.Duration(w.IntN(2000)-1000) * time.Hour)
	case n == 16 && len(w.all) > 0:
		b := w.all[w.IntN(len(w.all))]
		d := databaseNames[w.IntN(len(databaseNames))]
		w.say("%s of %+v is gone for good", d, w.servers.With(w.all).KindOf(b.Manifest))
		w.servers.LetGo(w.servers.With(w.all).KindOf(b.Manifest), []string{d}, w.all[0].Sequence, w.clock)
	case n == 17:
		w.servers = w.servers.With(w.all)
		w.servers.Add(catalog.Member{ID: serverNames[w.IntN(len(serverNames))], Succeeds: serverNames[w.IntN(len(serverNames))]})
	}
	w.clock = w.clock.Add(time.Duration(w.IntN(48)) * time.Hour)
}

func (w *world) run() {
	w.sequence += 1 + uint64(w.IntN(2))
	s := serverNames[min(w.IntN(6), w.IntN(len(serverNames)))]
	b := catalog.Backup{ID: fmt.Sprint("b", w.sequence), Sequence: w.sequence, Health: catalog.Unverified}
	b.Manifest = catalog.Manifest{
		ID: b.ID, Sequence: w.sequence, RecoveryPoint: w.clock, Engine: engines[w.IntN(8)/7], Set: sets[w.IntN(5)/4],
		Server: catalog.Server{SystemIdentifier: s},
	}
	for _, d := range w.exists[s] {
		b.Manifest.Databases = append(b.Manifest.Databases, catalog.Database{Name: d})
	}
	if b.Manifest.Engine == "pgbackrest" {
		b.Manifest.External = &catalog.External{Label: b.ID}
		for _, other := range w.all {
			if x := other.Manifest.External; x != nil && other.Manifest.Server == b.Manifest.Server && w.IntN(2) == 0 {
				b.Manifest.External.Prior = x.Label
				break
			}
		}
	}
	switch w.IntN(8) {
	case 0:
		b.Health = catalog.IsSuspect
	case 1, 2, 3, 4:
		b.Health = catalog.Verified
	}
	w.all = append([]catalog.Backup{b}, w.all...)
}

func (w *world) fault() {
	if len(w.all) == 0 {
		return
	}
	b := &w.all[w.IntN(len(w.all))]
	switch w.IntN(6) {
	case 0:
		b.Health = catalog.Damaged
	case 1:
		b.Health, b.Manifest = catalog.Damaged, catalog.Manifest{ID: b.ID}
	case 2:
		b.Health = catalog.Unreadable
	case 3:
		b.Health, b.Manifest = catalog.Unreadable, catalog.Manifest{ID: b.ID}
	default: // mended, accepted
		for i := range w.all {
			if w.all[i].Manifest.Engine != "" && !w.all[i].Health.Good() {
				w.all[i].Health = catalog.Unverified
			} else if w.all[i].Health == catalog.Unreadable {
				w.all[i].Health = catalog.Damaged
			}
		}
	}
}

func (w *world) policy() Policy {
	p := Policy{Keep: 1 + w.IntN(4), Daily: w.IntN(3), Weekly: w.IntN(3), Monthly: w.IntN(2)}
	if w.IntN(3) == 0 {
		p.Server = serverNames[w.IntN(len(serverNames))]
	}
	return p
}

// prune deletes what the plan says, and asks the invariants.
func (w *world) prune(p Policy) error {
	ds := Plan(w.all, p, w.servers)
	if err := broken(w.all, ds, p, w.servers.With(w.all)); err != nil {
		return err
	}
	var left []catalog.Backup
	for _, d := range ds {
		if d.Keep {
			left = append(left, d.Backup)
		}
	}
	w.all = left
	return nil
}

// broken says which invariant of docs/backup-format.md a plan breaks. It knows nothing of how the plan was made.
func broken(all []catalog.Backup, ds []Decision, p Policy, servers catalog.Servers) error {
	if len(ds) != len(all) {
		return fmt.Errorf("%d decisions about %d backups", len(ds), len(all))
	}
	kept := map[string]bool{}
	for i, d := range ds {
		if d.ID != all[i].ID || len(d.Reasons) == 0 {
			return fmt.Errorf("decision %d is %+v", i, d)
		}
		kept[d.ID] = d.Keep
	}
	unreadable := slices.ContainsFunc(all, func(b catalog.Backup) bool { return b.Health == catalog.Unreadable })
	for _, gone := range all {
		if kept[gone.ID] {
			continue
		}
		kind := servers.KindOf(gone.Manifest)
		newer, newerVerified := 0, false
		holders := map[string]int{}
		for _, b := range all {
			same := servers.KindOf(b.Manifest) == kind
			switch {
			case unreadable:
				return fmt.Errorf("%s is deleted while a backup can't be read", gone.ID)
			case same && b.Health == catalog.IsSuspect:
				return fmt.Errorf("%s is deleted while %s is suspect", gone.ID, b.ID)
			case same && kept[b.ID] && gone.Manifest.External != nil && b.Manifest.External != nil &&
				b.Manifest.External.Prior == gone.Manifest.External.Label:
				return fmt.Errorf("%s is deleted and %s builds upon it", gone.ID, b.ID)
			}
			if b.Sequence <= gone.Sequence || !kept[b.ID] || !b.Health.Good() || !same && gone.Manifest.Engine != "" {
				continue
			}
			newer++
			newerVerified = newerVerified || b.Health == catalog.Verified
			for _, d := range b.Manifest.Databases {
				holders[d.Name]++
			}
		}
		switch {
		case p.Server != "" && kind.Server != servers.Line(p.Server):
			return fmt.Errorf("%s of another server is deleted", gone.ID)
		case newer < p.Keep:
			return fmt.Errorf("%s is deleted though only %d newer good ones are kept", gone.ID, newer)
		case gone.Health == catalog.Verified && !newerVerified:
			return fmt.Errorf("%s, the newest verified one, is deleted", gone.ID)
		}
		for _, d := range gone.Manifest.Databases {
			if holders[d.Name] > 0 || catalog.SetAside(d.Name) || servers.IsGone(kind, d.Name, gone.Sequence) {
				continue
			}
			if !gone.Health.Good() && slices.ContainsFunc(all, func(b catalog.Backup) bool {
				_, has := b.Manifest.Database(d.Name)
				return has && kept[b.ID] && servers.KindOf(b.Manifest) == kind && (b.Health.Good() || b.Sequence > gone.Sequence)
			}) {
				continue // a damaged one; another still has it
			}
			return fmt.Errorf("%s, the last with database %s, is deleted", gone.ID, d.Name)
		}
	}
	return nil
}

// TestNothingThatCountsIsEverDeleted tries to break retention. PG_RELIABILITY_SEED repeats one history.
func TestNothingThatCountsIsEverDeleted(t *testing.T) {
	from, histories := uint64(time.Now().UnixNano()), 1000
	if s := os.Getenv("PG_RELIABILITY_SEED"); s != "" {
		var err error
		if from, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
		histories = 1
	}
	deleted := 0
	for i := range histories {
		seed := from + uint64(i)
		w := newWorld(seed)
		for range 60 {
			w.step()
			if w.IntN(3) > 0 {
				continue
			}
			before := len(w.all)
			p := w.policy()
			text := describe(w.all)
			if err := w.prune(p); err != nil {
				t.Fatalf("PG_RELIABILITY_SEED=%d, %+v: %v\n%s%s\n%+v", seed, p, err, text, strings.Join(w.log, "\n"), w.servers)
			}
			deleted += before - len(w.all)
		}
	}
	if histories > 1 && deleted < histories {
		t.Errorf("only %d backups were deleted in %d histories: this tests nothing", deleted, histories)
	}
}

func describe(all []catalog.Backup) string {
	var s strings.Builder
	for _, b := range all {
		var names []string
		for _, d := range b.Manifest.Databases {
			names = append(names, d.Name)
		}
		fmt.Fprintf(&s, "%s %s %s/%s/%s %v\n", b.ID, b.Health, b.Manifest.Server.SystemIdentifier, b.Manifest.Engine, b.Manifest.Set, names)
	}
	return s.String()
}
