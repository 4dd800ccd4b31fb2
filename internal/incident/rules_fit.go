package incident

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/serverlog"
)

// The rules of this file are about a server that lives: what it said to those it turned away, and what fits.

// connections: the server said so to us.
func (c *clues) connections() (Story, bool) {
	if !c.mostly(postgres.TooManyConnections) {
		return Story{}, false
	}
	c.citeProbes(c.failures(postgres.TooManyConnections)...)
	c.citeLog(firstOf(c.events(serverlog.TooManyConnections), 3)...)
	s := Story{Cause: ConnectionsExhausted, Sure: Certain, Sentence: "All connections are used up"}
	if sample, ok := c.fullest(); ok {
		if sample.Max > 0 {
			s.Sentence += fmt.Sprintf(": %d of %d", sample.Used, sample.Max)
		}
		if user, n := most(sample.ByUser); n > 0 {
			s.Sentence += fmt.Sprintf(", %d of them by %s", n, user)
			c.cite(sample.At, "session", fmt.Sprintf("%d connections, %d of them by %s", sample.Used, n, user))
		}
	} else if user, n := most(c.turnedAway()); n > 0 {
		s.Sentence += fmt.Sprintf(": %d logins were turned away, most of them of %s", len(c.events(serverlog.TooManyConnections)), user)
		s.Missing = append(s.Missing, "who has the connections: samples of sessions")
	} else {
		s.Missing = append(s.Missing, "who has the connections: samples of sessions")
	}
	s.Sentence += "."
	return s, true
}

// mostly is whether the incident began for a reason, or half of its probes failed for it: the first may have met a connection that was cut.
func (c *clues) mostly(reason postgres.Reason) bool {
	failed := c.failures(reason)
	return c.began(reason) || len(failed) > 0 && 2*len(failed) >= len(c.failing())
}

// failing are all probes that failed in the incident.
func (c *clues) failing() []Probe { return c.failures(postgres.Reasons()...) }

// fullest is the sample with the most connections.
func (c *clues) fullest() (out Sample, ok bool) {
	for _, s := range c.w.Samples {
		if s.At.Before(c.w.Start.Add(-Before)) || s.At.After(c.to) {
			continue
		}
		users := out.ByUser // of the newest closer look
		if s.ByUser != nil {
			users = s.ByUser
		}
		if s.Used > out.Used {
			out, ok = s, true
		}
		out.ByUser = users
	}
	return out, ok
}

func (c *clues) turnedAway() map[string]int {
	users := map[string]int{}
	for _, e := range c.events(serverlog.TooManyConnections) {
		if e.User != "" {
			users[e.User]++
		}
	}
	return users
}

func most(counts map[string]int) (name string, n int) {
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		if counts[key] > n {
			name, n = key, counts[key]
		}
	}
	return name, n
}

// refusals are reasons with which a server turns a login down.
var refusals = []postgres.Reason{postgres.PgHBA, postgres.ConnectionLimit, postgres.NoDatabase, postgres.Auth, postgres.Permission}

// access: the server turned our login down.
func (c *clues) access() (Story, bool) {
	why := slices.IndexFunc(refusals, c.mostly)
	if why < 0 {
		return Story{}, false
	}
	reloads := c.eventsFrom(c.w.Start.Add(-slowLead), serverlog.Reloaded, serverlog.NotReloaded)
	c.citeProbes(c.failing()...)
	c.citeLog(reloads...)
	c.citeLog(firstOf(c.events(serverlog.HBARejected, serverlog.PasswordFailed, serverlog.NoRole, serverlog.NoDatabase, serverlog.LoginFailed),
		3)...)
	s := Story{Sure: Certain}
	switch refusals[why] {
	case postgres.PgHBA:
		s.Cause, s.Sentence = AccessChanged, "The server turns our login down: pg_hba.conf does not let this role in from here"
	case postgres.ConnectionLimit:
		s.Cause, s.Sentence = LoginRefused, "The server turns our login down: the connection limit of the role or the database is reached"
	case postgres.NoDatabase:
		s.Cause, s.Sentence = DatabaseGone, "The database is gone: it was dropped or renamed"
	case postgres.Permission:
		s.Cause, s.Sentence = LoginRefused, "The server turns our login down: its role may not connect to this database, or nobody may"
	default:
		s.Cause, s.Sentence = LoginRefused, "The server turns our login down: its role or its password is not what it was"
	}
	reloads = slices.DeleteFunc(reloads, func(e serverlog.Event) bool { return e.At.After(c.w.Start) }) // perhaps of the repair
	if len(reloads) > 0 && s.Cause != DatabaseGone && refusals[why] != postgres.ConnectionLimit {
		s.Sentence += fmt.Sprintf("; the configuration was reloaded %s before", lasting(c.w.Start.Sub(reloads[len(reloads)-1].At)))
	}
	s.Sentence += "."
	return s, true
}

// hung: the watchdog found that connections were made and nobody answered, with no sign of another cause. What it did ended the server,
// so that what the log says of that end is no cause.
func (c *clues) hung() (Story, bool) {
	acted := c.facts(WatchdogActed)
	if len(acted) == 0 || !c.began(postgres.Timeout) {
		return Story{}, false
	}
	s := Story{Cause: Hung, Sure: Likely, Sentence: fmt.Sprintf("The server hung: it took connections and answered nobody for %.0f s",
		acted[0].Value)}
	if stopped, ok := c.frozen(); ok {
		s = stopped
		s.Sentence = strings.TrimSuffix(s.Sentence, ".")
	}
	c.citeFacts(acted...)
	c.citeProbes(c.failures(postgres.Timeout)...)
	s.Sentence += "; then the watchdog acted (" + acted[0].Name + ")"
	if !c.w.End.IsZero() && c.w.End.After(acted[0].At) {
		s.Sentence += ", and it answered again " + lasting(c.w.End.Sub(acted[0].At)) + " later"
	}
	s.Sentence += "."
	return s, true
}

// frozen: the server did not answer, and its processes were stopped.
func (c *clues) frozen() (Story, bool) {
	stopped := c.facts(ProcessStopped)
	if len(stopped) == 0 || c.w.Kind != Stall && !c.began(postgres.Timeout) {
		return Story{}, false
	}
	c.citeFacts(stopped...)
	c.citeProbes(c.failures(postgres.Timeout)...)
	return Story{Cause: Frozen, Sure: Certain,
		Sentence: "The server was frozen: " + cmp.Or(stopped[0].Name, "its process") + " was stopped (SIGSTOP, a debugger, or a pause)."}, true
}

// lockQueue: the probes wait for a lock, behind somebody. That others wait for a lock does not keep a server from answering: either a
// probe said so, or one of our own sessions, or a login, was seen to wait.
func (c *clues) lockQueue() (Story, bool) {
	if !c.began(postgres.LockTimeout, postgres.Timeout) && c.w.Kind != Stall {
		return Story{}, false
	}
	said := c.failures(postgres.LockTimeout)
	blocker, at, found := c.blocker(len(said) > 0)
	if !found && len(said) == 0 {
		return Story{}, false
	}
	c.citeProbes(c.failures(postgres.LockTimeout, postgres.Timeout)...)
	c.citeLog(firstOf(c.eventsFrom(c.w.Start.Add(-Before), serverlog.LockWait), 3)...)
	s := Story{Cause: LockQueue, Sure: Likely}
	if !found {
		s.Sentence = "The probes waited for a lock that another session held."
		s.Missing = append(s.Missing, "who held it: samples of sessions")
		return s, true
	}
	if len(said) > 0 || blocker.Logins > 0 {
		s.Sure = Certain
	}
	who := wordsOf(blocker)
	c.cite(at, "session", who)
	s.Sentence = "A queue of locks: " + who + "."
	return s, true
}

// blocker is the one with the longest queue, of those that the probes wait for; of all, where they said that they wait.
func (c *clues) blocker(all bool) (out Blocker, at time.Time, found bool) {
	for _, s := range c.w.Samples {
		if s.At.Before(c.from) || s.At.After(c.to) {
			continue
		}
		for _, b := range s.Blockers {
			ours := all || b.Logins > 0 && c.w.Kind == Outage || b.Ours > 0
			if ours && b.Blocks > out.Blocks {
				out, at, found = b, s.At, true
			}
		}
	}
	return out, at, found
}

// promotion: the server is another one, or has another role.
func (c *clues) promotion() (Story, bool) {
	asked := c.events(serverlog.PromoteRequested, serverlog.NewTimeline)
	switch {
	case c.saw("failover"):
		c.citeLog(asked...)
		c.citeProbes(c.failing()...)
		return Story{
			Cause: FailedOver, Sure: Certain, Sentence: fmt.Sprintf("Failover: the address leads to another server since (%s).", c.w.Is.Role),
			Missing: []string{"why the server before went away: its own log, on its own machine"},
		}, true
	case c.saw("promotion"), len(asked) > 0:
		c.citeLog(asked...)
		return Story{Cause: Promoted, Sure: Certain, Sentence: "The standby was promoted."}, true
	}
	return Story{}, false
}

// names: the connection failed before it came to the server.
func (c *clues) names() (Story, bool) {
	switch {
	case c.began(postgres.DNS):
		c.citeProbes(c.failures(postgres.DNS)...)
		return Story{Cause: NameLookup, Sure: Certain, Sentence: "The server's name could not be resolved."}, true
	case c.began(postgres.TLS):
		c.citeProbes(c.failures(postgres.TLS)...)
		return Story{Cause: Certificate, Sure: Certain,
			Sentence: "TLS failed: a certificate that does not verify, or none where one is needed."}, true
	}
	return Story{}, false
}

var (
	syncSeconds    = regexp.MustCompile(`\bsync=(\d+[.,]\d+) s`)
	longestSeconds = regexp.MustCompile(`\blongest=(\d+[.,]\d+) s`)
)

const (
	// longSync is how long the disk may take for a checkpoint's files, and heavyPressure which share of ten seconds may be spent in
	// waiting for it, before a stall is its doing.
	longSync      = time.Second
	heavyPressure = 0.5
)

// disk: reads were slow or late while the disk was.
func (c *clues) disk() (Story, bool) {
	if c.w.Kind != Stall && !c.began(postgres.Timeout) || c.startedAnewForSure() {
		return Story{}, false
	}
	pressure := slices.DeleteFunc(c.facts(IOPressure), func(f Fact) bool { return f.Value < heavyPressure })
	for _, e := range c.eventsUntil(c.to.Add(After), serverlog.CheckpointComplete) {
		longest := max(secondsIn(longestSeconds, e.Message), secondsIn(syncSeconds, e.Message))
		if longest < longSync {
			continue
		}
		began := e.At.Add(-longest)
		if began.After(c.to) || e.At.Before(c.from) {
			continue
		}
		c.citeLog(e)
		c.citeFacts(pressure...)
		return Story{
			Cause: CheckpointStall, Sure: Likely,
			Sentence: fmt.Sprintf("The disk was slow: a checkpoint waited %s for it to write (fsync) meanwhile.", lasting(longest)),
		}, true
	}
	if waits := c.facts(ProcessWaits); len(waits) > 0 {
		c.citeFacts(append(waits, pressure...)...)
		return Story{Cause: DiskStall, Sure: Likely, Sentence: "The disk did not answer: " + waits[0].words() + "."}, true
	}
	if len(pressure) > 0 {
		c.citeFacts(pressure...)
		return Story{Cause: DiskStall, Sure: Likely, Sentence: fmt.Sprintf("The disk was slow: processes waited for it %.0f %% of the time.",
			100*pressure[0].Value)}, true
	}
	return Story{}, false
}

// eventsUntil is events, up to another time: a checkpoint is told of when it is complete.
func (c *clues) eventsUntil(to time.Time, kinds ...serverlog.Kind) []serverlog.Event {
	later := *c
	if !c.w.End.IsZero() {
		later.to = to
	}
	return later.events(kinds...)
}

func secondsIn(pattern *regexp.Regexp, text string) time.Duration {
	m := pattern.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0
	}
	return time.Duration(n * float64(time.Second))
}

// startedAnewForSure is whether another postmaster is known to run.
func (c *clues) startedAnewForSure() bool {
	return !c.w.Was.StartTime.IsZero() && !c.w.Is.StartTime.IsZero() && !c.w.Was.StartTime.Equal(c.w.Is.StartTime)
}

// network: our connections did not come to the server, which went on. That it answers late proves nothing of a network: only a
// connection that could not be made does. One that was refused was not refused by a server that ran before and afterwards: it listens as
// long as it lives.
func (c *clues) network() (Story, bool) {
	if !c.began(postgres.Timeout, postgres.Refused) || c.startedAnewForSure() || len(c.w.Restarts) > 0 ||
		len(c.events(serverlog.StartingUp, serverlog.ShuttingDown)) > 0 {
		return Story{}, false
	}
	sameRun := !c.w.Was.StartTime.IsZero() && c.w.Was.StartTime.Equal(c.w.Is.StartTime)
	wroteOn := c.w.LogGrew.Sub(c.w.Start) >= 3*time.Second // what was written just before may have been read just after
	unmade := slices.DeleteFunc(c.failures(postgres.Timeout, postgres.Refused), func(p Probe) bool {
		return !strings.Contains(p.Error, "dial error") || p.Reason == string(postgres.Refused) && !sameRun ||
			p.Reason == string(postgres.Timeout) && !wroteOn
	})
	if len(unmade) == 0 {
		return Story{}, false
	}
	c.citeProbes(unmade...)
	went := "ran on"
	if wroteOn {
		c.cite(c.w.LogGrew, "log", "the server went on writing its log")
		went = "went on writing its log"
	}
	if sameRun {
		c.cite(c.w.Is.StartTime, "probe", "the server runs since then, without an end in between")
	}
	return Story{
		Cause: Network, Sure: Likely, Sentence: "The network between the exporter and the server: the server " + went + ", and no " +
			"connection to it could be made.",
	}, true
}

// unknown says what was seen, and what would have told.
func (c *clues) unknown() Story {
	s := Story{Cause: Unknown, Sure: NotSure}
	c.citeProbes(c.failing()...)
	c.citeFacts(c.facts(MemoryPressure, IOPressure, CPUPressure, Load, VolumeFull, VolumeReadOnly)...)
	switch {
	case c.w.Kind == Stall:
		s.Sentence = "Why reads were slow is not known."
	case c.saw("container"):
		s.Sentence = "The database's container was started again; why it ended is not known."
	case c.saw("restart"):
		s.Sentence = "The server was started again; why it had stopped is not known."
	case c.w.LogFollowed && !c.w.Was.StartTime.IsZero() && c.w.Was.StartTime.Equal(c.w.Is.StartTime) && c.w.LogGrew.IsZero() &&
		c.began(postgres.Timeout):
		s.Sentence = "The server did not answer, and was not restarted; its log says nothing of that time. It hung, or its machine did, or " +
			"the network to it."
	default:
		s.Sentence = "Why is not known."
	}
	if !c.w.LogFollowed {
		s.Missing = append(s.Missing, c.logMissing("what the server said"))
	}
	if !c.w.HostWatched {
		s.Missing = append(s.Missing, "facts of the host: out of memory, a full or slow disk, how the server's process ended")
	}
	if len(c.w.Samples) == 0 {
		s.Missing = append(s.Missing, "what the sessions did and waited for")
	}
	return s
}
