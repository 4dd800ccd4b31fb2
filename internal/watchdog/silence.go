package watchdog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/serverlog"
)

const (
	// lately is how long a fact of the machine holds: those that last are told again every ten seconds.
	lately = 25 * time.Second
	// choked is the share of time in which processes waited for the disk or for memory from which on a restart would make it worse.
	choked = 0.8
	// asked is how long the first question without an answer may have been open for the silence to have begun with it. What took longer
	// may have been asked by a process that stood still meanwhile; then it began with the question's end.
	asked = 5 * time.Second
	// fewest are the probes of each kind that must have gone without an answer.
	fewest = 2
)

// silence is what is known of a server that does not answer, and of the last that it said. It reads no clock and asks nobody: each way
// that a server can be silent is one row of a test.
type silence struct {
	// since is when the first question without an answer was asked; zero while the server answers, and until it has answered once.
	since         time.Time
	reads, logins int
	// connected: a connection was made since, so that the network is not what is silent.
	connected bool
	// done: it was acted on. withheld is why it was not, at the last moment, at withheldAt.
	done       bool
	withheld   string
	withheldAt time.Time
	// asking ends with the silence.
	asking context.Context //nolint:containedctx // the life of its questions is what it says

	// read and login are the last answers of these probes; empty before the first.
	read, login postgres.Reason
	// sign is what the server's log said last of a shutdown, a start or a recovery; empty once it is ready.
	sign string
	// fact is why the machine says to leave the server alone, at factAt.
	fact   string
	factAt time.Time
}

// probed takes what a probe saw. Any answer ends the silence, also that it can't be reached at all.
func (s *silence) probed(o probe.Outcome) {
	switch {
	case o.Skipped, o.Kind == probe.Write && o.Reason == postgres.Timeout: // writes wait for others
	case o.Reason != postgres.Timeout:
		s.answered()
		if o.Kind == probe.Read {
			s.read = o.Reason
		}
		if o.Kind == probe.Login {
			s.login = o.Reason
			if o.Reason == postgres.OK {
				s.sign = "" // it takes new sessions
			}
		}
	case s.read != "" || s.login != "": // it has answered once
		if s.since.IsZero() {
			if s.since = o.Started; o.Ended.Sub(o.Started) > asked {
				s.since = o.Ended
			}
		}
		if o.Kind == probe.Read {
			s.reads++
		} else {
			s.logins++
		}
	}
}

// knocked takes the answer to the smallest question. That no connection is made says nothing: the queue of a server that hangs fills.
func (s *silence) knocked(told postgres.Knock) {
	switch told {
	case postgres.Answered, postgres.TurnedAway:
		s.answered()
	case postgres.Silent:
		s.connected = true
	case postgres.Unreachable:
	}
}

func (s *silence) answered() {
	s.since, s.reads, s.logins, s.connected, s.done, s.withheld = time.Time{}, 0, 0, false, false, ""
}

// slept is for a process that stood still itself: the time begins anew.
func (s *silence) slept() { s.since, s.reads, s.logins, s.connected = time.Time{}, 0, 0, false }

// acted notes that the action was begun; until the server has answered there is no other.
func (s *silence) acted() { s.done = true }

// again is for an action that failed: the time begins anew.
func (s *silence) again(now time.Time) { s.done, s.since, s.reads, s.logins = false, now, 0, 0 }

// logged takes what the server's log said.
func (s *silence) logged(e serverlog.Event) {
	switch e.Kind {
	case serverlog.SmartShutdown, serverlog.FastShutdown, serverlog.ImmediateShutdown, serverlog.ShutDown, serverlog.ShuttingDown,
		serverlog.LostLockFile:
		s.sign = "it is shutting down"
	case serverlog.StartingUp, serverlog.WasShutDown:
		s.sign = "it is starting up"
	case serverlog.WasInterrupted, serverlog.Recovering, serverlog.RedoStarts, serverlog.Reinitializing, serverlog.TerminatingOthers:
		s.sign = "it is recovering"
	case serverlog.Ready, serverlog.ReadyReadOnly:
		s.sign = ""
	case serverlog.DiskFull:
		s.leave("its disk is full", e.At)
	case serverlog.IOError:
		s.leave("its disk fails", e.At)
	}
}

// took takes a fact of the machine.
func (s *silence) took(f incident.Fact) {
	switch f.Kind {
	case incident.VolumeFull:
		s.leave("the volume "+f.Name+" is full", f.At)
	case incident.VolumeReadOnly:
		s.leave("the volume "+f.Name+" is read-only", f.At)
	case incident.ProcessWaits:
		s.leave("it waits for a disk, and no signal ends that", f.At)
	case incident.IOPressure:
		if f.Value >= choked {
			s.leave("the disk is too slow: processes wait for it nearly all the time", f.At)
		}
	case incident.MemoryPressure:
		if f.Value >= choked {
			s.leave("the machine has too little memory: processes wait for it nearly all the time", f.At)
		}
	}
}

func (s *silence) leave(why string, at time.Time) { s.fact, s.factAt = why, at }

// verdict of a moment.
type verdict int

const (
	none     verdict = iota // the server answers
	wait                    // not for long enough, or it was acted on
	withhold                // it has been silent for long, and is left alone
	act
)

// judge says what to do, and why not.
func (s *silence) judge(now time.Time, after time.Duration) (verdict, string) {
	silent := now.Sub(s.since)
	switch {
	case s.since.IsZero():
		return none, ""
	case s.done, silent < after, s.reads < fewest, s.logins < fewest:
		return wait, ""
	case s.withheld != "" && now.Sub(s.withheldAt) < lately:
		return withhold, s.withheld
	case s.sign != "":
		return withhold, s.sign
	case s.read != postgres.OK:
		return withhold, "the last that it said to a read was: " + words(s.read)
	case s.login == postgres.StartingUp, s.login == postgres.ShuttingDown:
		return withhold, "the last that it said to a login was: " + words(s.login)
	case s.fact != "" && now.Sub(s.factAt) < lately:
		return withhold, s.fact
	case !s.connected:
		return withhold, "no connection is made: it may be the network, or the whole machine"
	}
	return act, ""
}

func words(r postgres.Reason) string {
	if r == "" {
		return "nothing yet"
	}
	return strings.ReplaceAll(fmt.Sprint(r), "_", " ")
}
