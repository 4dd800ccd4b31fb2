package serverlog

import (
	"sync/atomic"
	"time"
)

// counts are what the metrics show. They are counted without a lock, and read while it goes on.
type counts struct {
	messages  [severities][classCount]atomic.Uint64
	logins    [len(loginReasons)]atomic.Uint64
	events    [len(countedKinds)]atomic.Uint64
	tempFiles atomic.Uint64
	tempBytes atomic.Uint64

	bytes, unread, tooLong, skips, skippedBytes, lostEvents atomic.Uint64
	newest, written                                         atomic.Int64 // Unix milliseconds
}

// loginReasons are why a login failed.
var loginReasons = [...]string{
	"password", "rejected", "no_database", "denied", "too_many_connections", "starting_up", "shutting_down", "other",
}

const (
	loginPassword = iota
	loginRejected
	loginNoDatabase
	loginDenied
	loginTooMany
	loginStartingUp
	loginShuttingDown
	loginOther
)

// countedKinds have a metric's label.
var countedKinds = [...]Kind{
	Deadlock, StatementTimeout, LockTimeout, IdleInTransaction, UserCancel, TerminatedByAdmin, RecoveryConflict, AutovacuumCancelled,
	CheckpointsTooOften, ProcessKilled, DiskFull, OutOfMemory, IOError, DataCorrupted, ForkFailed, LockWait,
}

// loginOf says why a login failed; no for what is none. A session that ended by FATAL with these states had not begun.
func loginOf(r *Record, kind Kind) (reason int, is bool) {
	if r.Severity != Fatal {
		return 0, false
	}
	switch kind {
	case PasswordFailed:
		return loginPassword, true
	case HBARejected, NoRole, LoginFailed:
		if string(r.SQLState) == "3D000" {
			return loginNoDatabase, true
		}
		return loginRejected, true
	case NoDatabase:
		return loginNoDatabase, true
	case TooManyConnections:
		return loginTooMany, true
	case StartingUp:
		return loginStartingUp, true
	case ShuttingDown:
		return loginShuttingDown, true
	}
	switch state := string(r.SQLState); state {
	case "42501":
		return loginDenied, true
	case "57P03", "55000", "08P01", "0A000":
		return loginOther, true
	default:
		if len(state) == sqlStateLength && state[:2] == "28" {
			return loginRejected, true
		}
	}
	return 0, false
}

// reader is the sink of one file or container: it counts, and hands on what tells of the server.
type reader struct {
	log   *Log
	live  bool // what is read was written just before
	old   bool // however long ago it was written, it is handed on
	clock clock
	every uint
}

// stampEvery is how many messages pass between two looks at their time, for the metric alone.
const stampEvery = 256

func (rd *reader) unread() { rd.log.counts.unread.Add(1) }

func (rd *reader) record(r *Record) {
	l := rd.log
	kind, found := l.words.classify(r)
	state := r.SQLState
	if len(state) == 0 && kind != NoKind {
		state = []byte(sqlStates[kind])
	}
	l.counts.messages[r.Severity][l.classes.of(state)].Add(1)
	if reason, is := loginOf(r, kind); is {
		l.counts.logins[reason].Add(1)
	}
	if kind != NoKind {
		for i, counted := range countedKinds {
			if kind == counted {
				l.counts.events[i].Add(1)
			}
		}
		if kind == TemporaryFile {
			l.counts.tempFiles.Add(1)
			l.counts.tempBytes.Add(uint64(number(found[1])))
		}
	}
	rd.every++
	if tells := tells(r, kind); tells || rd.every%stampEvery == 1 {
		now := l.now()
		at := rd.clock.read(r.Time, now, rd.live)
		rd.log.counts.newest.Store(at.UnixMilli())
		if tells && l.o.OnEvent != nil && (rd.old || now.Sub(at) < maxAge) {
			rd.tell(r, kind, &found, at, now)
		}
	}
}

// maxAge is how old a message may be to be kept: what is older belongs to no story that is told now.
const maxAge = 10 * time.Minute

// tell hands an event on, so many a second: a server that fails ten thousand logins a second tells nothing new by the last of them.
func (rd *reader) tell(r *Record, kind Kind, found *arguments, at, now time.Time) {
	l := rd.log
	l.mu.Lock()
	if second := now.Unix(); l.second != second {
		l.second, l.told = second, 0
	}
	l.told++
	tooMany := l.told > maxEvents
	l.mu.Unlock()
	if tooMany && !rd.old {
		l.counts.lostEvents.Add(1)
		return
	}
	l.o.OnEvent(l.event(r, kind, found, at))
}

// maxEvents is how many are handed on in a second.
const maxEvents = 200
