package incident

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/serverlog"
)

// The rules of this file are about the end of a server or of one of its processes: it or the kernel said so.

// severe are messages that end a process.
func severe(events []serverlog.Event) (out []serverlog.Event) {
	for _, e := range events {
		if e.Severity == "fatal" || e.Severity == "panic" {
			out = append(out, e)
		}
	}
	return out
}

// diskFull: a process of the server ended for want of space. A statement that failed so alone ends nothing.
func (c *clues) diskFull() (Story, bool) {
	all := c.events(serverlog.DiskFull)
	volumes := c.facts(VolumeFull)
	deadly := severe(all)
	switch {
	case len(deadly) > 0:
		c.citeLog(firstOf(deadly, 4)...)
		c.citeFacts(volumes...)
		return Story{Cause: DiskFull, Sure: Certain, Sentence: "The disk is full: " + deadly[0].Message + "."}, true
	case len(all) > 0 && len(volumes) > 0 && !c.began(postgres.TooManyConnections, postgres.ConnectionLimit, postgres.Auth, postgres.PgHBA,
		postgres.NoDatabase):
		c.citeLog(firstOf(all, 4)...)
		c.citeFacts(volumes...)
		return Story{Cause: DiskFull, Sure: Likely,
			Sentence: fmt.Sprintf("The disk is full: the volume %s has no room, and statements fail for it.", volumes[0].Name)}, true
	}
	return Story{}, false
}

// outOfMemory: the kernel's word, or the server's own.
func (c *clues) outOfMemory() (Story, bool) {
	kills, onHost := c.facts(OOMKill), c.facts(HostOOMKill)
	killed := c.killedProcesses()
	said := append(severe(c.events(serverlog.OutOfMemory)), c.events(serverlog.ForkFailed)...)
	switch {
	case len(kills) > 0 && (len(killed) > 0 && killed[0].Number == 9 || c.saw("container", "restart", "crash") || c.gone()):
		c.citeFacts(kills...)
		c.citeLog(firstOf(killed, 2)...)
		text := "Out of memory: the kernel killed a process of the server"
		if len(killed) > 0 {
			text = fmt.Sprintf("Out of memory: the kernel killed %s %d%s", killed[0].Name, killed[0].Process, running(killed[0]))
		}
		return Story{Cause: OutOfMemory, Sure: Certain, Sentence: text + "."}, true
	case len(onHost) > 0 && (len(killed) > 0 && killed[0].Number == 9 || len(killed) == 0 && c.endedUnasked()):
		c.citeFacts(onHost...)
		c.citeLog(firstOf(killed, 2)...)
		text := "the server was killed"
		if len(killed) > 0 {
			text = fmt.Sprintf("%s %d was killed%s", killed[0].Name, killed[0].Process, running(killed[0]))
		}
		return Story{Cause: OutOfMemory, Sure: Likely,
			Sentence: "Out of memory: the kernel killed a process of this machine for it, and " + text + "."}, true
	case len(said) > 0 && len(killed) == 0:
		c.citeLog(firstOf(said, 4)...)
		return Story{Cause: OutOfMemory, Sure: Likely, Sentence: "Out of memory: " + said[0].Message + "."}, true
	}
	return Story{}, false
}

// endedUnasked is whether the whole server is another one now, or ended by a signal, and nobody had told it to stop.
func (c *clues) endedUnasked() bool {
	if len(c.events(serverlog.SmartShutdown, serverlog.FastShutdown, serverlog.ImmediateShutdown)) > 0 {
		return false
	}
	for _, f := range c.facts(Exited) {
		if f.Value == 128+9 {
			return true
		}
	}
	return len(c.events(serverlog.Recovering, serverlog.WasInterrupted)) > 0 && c.startedAnewForSure()
}

// gone is whether nobody answered.
func (c *clues) gone() bool { return len(c.failures(postgres.Refused)) > 0 }

// killedProcesses are those whose end made the server throw out all sessions. What an immediate shutdown ends is no cause.
func (c *clues) killedProcesses() (out []serverlog.Event) {
	if len(c.events(serverlog.ImmediateShutdown)) > 0 {
		return nil
	}
	others := c.events(serverlog.TerminatingOthers, serverlog.Reinitializing, serverlog.CutByCrash)
	for _, e := range append(c.events(serverlog.ProcessKilled), failedExits(c.events(serverlog.ProcessExited))...) {
		for _, o := range others {
			if d := o.At.Sub(e.At); d >= -time.Second && d < lead {
				out = append(out, e)
				break
			}
		}
	}
	return out
}

// failedExits are processes that ended badly: 0 and 1 are orderly ends.
func failedExits(events []serverlog.Event) (out []serverlog.Event) {
	for _, e := range events {
		if e.Number > 1 {
			out = append(out, e)
		}
	}
	return out
}

// panicked: PANIC is the server's own word for giving up.
func (c *clues) panicked() (Story, bool) {
	for _, e := range c.w.Log {
		if e.Severity != "panic" || e.At.Before(c.from) || e.At.After(c.to) {
			continue
		}
		c.citeLog(e)
		c.citeLog(firstOf(c.killedProcesses(), 1)...)
		if e.Kind == serverlog.IOError {
			return Story{Cause: DiskFailed, Sure: Certain, Sentence: "The disk failed, and the server gave up (PANIC): " + e.Message + "."}, true
		}
		return Story{Cause: Panic, Sure: Certain, Sentence: "The server gave up (PANIC): " + e.Message + "."}, true
	}
	return Story{}, false
}

var signals = map[int64]string{
	3: "SIGQUIT", 4: "SIGILL, an illegal instruction", 6: "SIGABRT, it gave up itself", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
	11: "SIGSEGV, a fault of the program",
	15: "SIGTERM",
}

// killed: a process ended by a signal, and the server threw out all sessions.
func (c *clues) killed() (Story, bool) {
	killed := c.killedProcesses()
	if len(killed) == 0 {
		return Story{}, false
	}
	e := killed[0]
	c.citeLog(firstOf(killed, 2)...)
	c.citeLog(firstOf(c.events(serverlog.TerminatingOthers, serverlog.Reinitializing), 2)...)
	s := Story{Cause: KilledBySignal, Sure: Certain}
	if e.Kind == serverlog.ProcessExited {
		s.Sentence = fmt.Sprintf("Process %d (%s) ended with exit code %d%s; the server threw out all sessions.", e.Process, e.Name, e.Number,
			running(e))
		return s, true
	}
	signal := fmt.Sprintf("signal %d", e.Number)
	if name := signals[e.Number]; name != "" {
		signal += " (" + name + ")"
	}
	s.Sentence = fmt.Sprintf("Process %d (%s) was killed by %s%s; the server threw out all sessions.", e.Process, e.Name, signal, running(e))
	if e.Number == 9 && !c.w.HostWatched {
		s.Missing = append(s.Missing, "whether a person or the kernel's OOM killer sent the signal: the kernel's log of that second")
	}
	return s, true
}

// running says which statement a process ran.
func running(e serverlog.Event) string {
	if _, statement, ok := strings.Cut(e.Detail, ": "); ok && statement != "" {
		return " while it ran: " + statement
	}
	return ""
}

// lockFileLost: somebody took the data directory away.
func (c *clues) lockFileLost() (Story, bool) {
	lost := c.events(serverlog.LostLockFile)
	if len(lost) == 0 {
		return Story{}, false
	}
	c.citeLog(lost[0])
	return Story{Cause: DataDirectoryLost, Sure: Certain, Sentence: "The server stopped, for its data directory was removed or replaced " +
		"below it."}, true
}

// shutdown: somebody asked for it.
func (c *clues) shutdown() (Story, bool) {
	asked := c.events(serverlog.SmartShutdown, serverlog.FastShutdown, serverlog.ImmediateShutdown)
	if len(asked) == 0 {
		return Story{}, false
	}
	e := asked[len(asked)-1]
	after := func(kinds ...serverlog.Kind) (out []serverlog.Event) {
		for _, is := range c.events(kinds...) {
			if !is.At.Before(e.At) {
				out = append(out, is)
			}
		}
		return out
	}
	ready := after(serverlog.Ready, serverlog.ReadyReadOnly)
	c.citeLog(asked...)
	c.citeLog(firstOf(after(serverlog.ShutDown), 1)...)
	c.citeLog(firstOf(ready, 1)...)
	how := map[serverlog.Kind]string{serverlog.SmartShutdown: "smart", serverlog.FastShutdown: "fast",
		serverlog.ImmediateShutdown: "immediate"}[e.Kind]
	s := Story{Cause: Stopped, Sure: Certain, Sentence: fmt.Sprintf("The server was told to stop (%s shutdown), and stopped.", how)}
	switch {
	case e.Kind == serverlog.ImmediateShutdown:
		s.Cause = ImmediateShutdown
		s.Sentence = "The server was told to stop at once (immediate shutdown), and had to recover when it was started again."
		if len(ready) == 0 {
			s.Sentence = "The server was told to stop at once (immediate shutdown)."
		}
	case e.Kind == serverlog.SmartShutdown && len(append(ready, after(serverlog.ShutDown)...)) == 0 && c.mostly(postgres.ShuttingDown):
		s.Sentence = "The server was told to stop once all sessions have left (smart shutdown): until then it lets nobody in."
	case len(ready) > 0:
		s.Cause = Restarted
		s.Sentence = fmt.Sprintf("The server was restarted: told to stop (%s shutdown), and ready again %s later.", how,
			lasting(ready[0].At.Sub(e.At)))
	}
	return s, true
}

// serverKilled: it came back, and found that it had never stopped.
func (c *clues) serverKilled() (Story, bool) {
	found := c.events(serverlog.Recovering, serverlog.WasInterrupted)
	if len(found) == 0 || len(c.events(serverlog.Reinitializing, serverlog.TerminatingOthers)) > 0 || !c.startedAnew() {
		return Story{}, false
	}
	c.citeProbes(c.failures(postgres.Refused, postgres.ShuttingDown, postgres.Timeout)...)
	c.citeLog(firstOf(found, 2)...)
	c.citeFacts(c.facts(Exited)...)
	s := Story{Cause: ServerKilled, Sure: Likely, Sentence: "The whole server ended without a shutdown: its processes were killed (kill " +
		"-9), or the machine or container was."}
	if ends := c.facts(Exited); len(ends) > 0 {
		s.Sure, s.Sentence = Certain, "The whole server ended without a shutdown: "+ends[0].end()+"."
		return s, true
	}
	if !c.w.HostWatched {
		s.Missing = append(s.Missing, "who killed it: the kernel's log (out of memory?), and how its container or unit ended")
	}
	return s, true
}

// ended: the engine says how the container ended, and no log says why.
func (c *clues) ended() (Story, bool) {
	ends := c.facts(Exited)
	if len(ends) == 0 || !c.gone() && !c.saw("container", "restart") && len(c.failures(postgres.Timeout, postgres.DNS)) == 0 {
		return Story{}, false
	}
	c.citeFacts(ends...)
	c.citeProbes(c.failures(postgres.Refused, postgres.ShuttingDown, postgres.Timeout, postgres.DNS)...)
	s := Story{Cause: ServerKilled, Sure: Certain, Sentence: capital(ends[0].end()) + ", without a shutdown that was asked for.",
		Missing: []string{c.logMissing("what the server said of it")}}
	switch code := int64(ends[0].Value); {
	case code == 0:
		s.Cause, s.Sure, s.Sentence = Stopped, Likely, capital(ends[0].Name)+" ended in good order (exit code 0): it was told to stop."
		if c.startedAnewForSure() {
			s.Cause, s.Sentence = Restarted, capital(ends[0].Name)+" ended in good order (exit code 0) and was started again."
		}
	case code < 128:
		s.Cause, s.Sure, s.Sentence = ServerCrash, Likely, capital(ends[0].end())+"."
	}
	return s, true
}

func capital(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// startedAnew is whether the postmaster of before is another one now; so it is taken to be while nothing is known.
func (c *clues) startedAnew() bool {
	return c.w.Was.StartTime.IsZero() || c.w.Is.StartTime.IsZero() || !c.w.Was.StartTime.Equal(c.w.Is.StartTime)
}

// crashed: the prober saw that all sessions were thrown out, and no log says of which process.
func (c *clues) crashed() (Story, bool) {
	events := c.events(serverlog.TerminatingOthers, serverlog.Reinitializing)
	if len(events) == 0 && !c.saw("crash") {
		return Story{}, false
	}
	c.citeLog(firstOf(events, 2)...)
	c.citeProbes(c.failures(postgres.ShuttingDown, postgres.Refused, postgres.StartingUp)...)
	if c.saw("crash") {
		c.cite(cmp.Or(c.w.End, c.w.Start), "probe", "the server's own processes are new, and its postmaster is not")
	}
	return Story{
		Cause: ServerCrash, Sure: Likely, Sentence: "A process of the server crashed, and the server threw out all sessions and recovered.",
		Missing: []string{c.logMissing("which process, by which signal, and what it ran")},
	}, true
}

// logMissing says that the server's log would have told something.
func (c *clues) logMissing(what string) string {
	if c.w.LogFollowed {
		return what + ": the server's log, of which these lines were not read"
	}
	return what + ": the server's log, which is not followed (--log.file, --log.container)"
}

func firstOf[T any](list []T, n int) []T { return list[:min(len(list), n)] }
