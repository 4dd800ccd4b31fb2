package incident

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/serverlog"
)

const (
	// lead is how long before the first probe that failed its cause may be: an interval, a timeout, and clocks that differ.
	lead = 15 * time.Second
	// slowLead is the same of what takes effect later: a changed pg_hba.conf is met by the next login.
	slowLead = 45 * time.Second
	// trail is how long after the end lines may still speak of it.
	trail = 5 * time.Second
	// maxEvidence bounds a story.
	maxEvidence = 12
)

// Explain says why. Its rules are in the order of what their evidence proves: first what the server or the kernel said of its own end,
// then what the server said to others, then what fits. What nothing explains is unknown: a wrong cause costs more than none.
func Explain(w *Window) Story {
	c := newCase(w)
	for _, rule := range []func(*clues) (Story, bool){
		(*clues).hung, (*clues).diskFull, (*clues).outOfMemory, (*clues).panicked, (*clues).killed, (*clues).lockFileLost, (*clues).shutdown,
		(*clues).serverKilled, (*clues).ended, (*clues).crashed,
		(*clues).connections, (*clues).access, (*clues).frozen, (*clues).lockQueue, (*clues).promotion, (*clues).names, (*clues).disk,
		(*clues).network,
	} {
		if s, ok := rule(c); ok {
			return c.finish(s)
		}
	}
	return c.finish(c.unknown())
}

// clues are a window, and what of it is near the incident.
type clues struct {
	w        *Window
	from, to time.Time
	evidence []Evidence
}

func newCase(w *Window) *clues {
	c := &clues{w: w, from: w.nearFrom(), to: time.Unix(1<<40, 0)} // it goes on
	if !w.End.IsZero() {
		c.to = w.nearTo()
	}
	return c
}

// events near the incident of some kinds, oldest first.
func (c *clues) events(kinds ...serverlog.Kind) (out []serverlog.Event) {
	return c.eventsFrom(c.from, kinds...)
}

func (c *clues) eventsFrom(from time.Time, kinds ...serverlog.Kind) (out []serverlog.Event) {
	for _, e := range c.w.Log {
		if slices.Contains(kinds, e.Kind) && !e.At.Before(from) && !e.At.After(c.to) {
			out = append(out, e)
		}
	}
	return out
}

func (c *clues) facts(kinds ...FactKind) (out []Fact) {
	for _, f := range c.w.Facts {
		if slices.Contains(kinds, f.Kind) && !f.At.Before(c.from) && !f.At.After(c.to) {
			out = append(out, f)
		}
	}
	return out
}

// failures are probes in the incident that failed for one of some reasons.
func (c *clues) failures(reasons ...postgres.Reason) (out []Probe) {
	for _, p := range c.w.Probes {
		if !p.At.Before(c.w.Start) && !p.At.After(c.to) && slices.Contains(reasons, postgres.Reason(p.Reason)) {
			out = append(out, p)
		}
	}
	return out
}

// began is whether the incident began for one of some reasons.
func (c *clues) began(reasons ...postgres.Reason) bool {
	return slices.Contains(reasons, postgres.Reason(c.w.Reason))
}

// saw is whether a restart of one of some kinds belongs to it.
func (c *clues) saw(kinds ...string) bool {
	return slices.ContainsFunc(kinds, func(k string) bool { return slices.Contains(c.w.Restarts, k) })
}

func (c *clues) citeLog(events ...serverlog.Event) {
	for _, e := range events {
		text := e.Message
		if e.Detail != "" {
			text += " (" + e.Detail + ")"
		}
		who := strings.ToUpper(e.Severity)
		if e.PID != 0 {
			who += fmt.Sprintf(" [%d]", e.PID)
		}
		c.cite(e.At, "log", who+": "+text)
	}
}

func (c *clues) citeProbes(probes ...Probe) {
	for _, p := range probes[:min(len(probes), 3)] {
		c.cite(p.At, "probe", cmp.Or(fmt.Sprintf("%s: %s", p.Probe, p.Reason)+colon(p.Error)))
	}
}

func (c *clues) citeFacts(facts ...Fact) {
	for _, f := range facts[:min(len(facts), 3)] {
		c.cite(f.At, "host", f.words())
	}
}

func colon(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

func (c *clues) cite(at time.Time, source, text string) {
	c.evidence = append(c.evidence, Evidence{At: at.UTC(), Source: source, Text: text})
}

// words say a fact.
func (f Fact) words() string {
	switch f.Kind {
	case OOMKill:
		return strings.TrimSpace("the kernel killed a process for want of memory " + f.Name)
	case HostOOMKill:
		return "the kernel killed a process of this machine for want of memory"
	case Exited:
		return f.end()
	case WatchdogActed:
		return fmt.Sprintf("the watchdog acted after %.0f s without any answer: %s", f.Value, f.Name)
	case Load:
		return fmt.Sprintf("%.0f processes per CPU wanted to run", f.Value)
	case ProcessStopped:
		return cmp.Or(f.Name, "the server's process") + " is stopped"
	case ProcessWaits:
		return cmp.Or(f.Name, "the server's process") + " waits for a disk, and no signal ends it"
	case VolumeFull:
		return fmt.Sprintf("the volume %s is %.1f %% full", f.Name, 100*f.Value)
	case VolumeReadOnly:
		return fmt.Sprintf("the volume %s is read-only", f.Name)
	case MemoryPressure, IOPressure, CPUPressure:
		return fmt.Sprintf("%s: %.0f %% of ten seconds", strings.ReplaceAll(string(f.Kind), "_", " "), 100*f.Value)
	}
	return string(f.Kind)
}

// end says how something ended: an engine adds 128 to the number of a signal.
func (f Fact) end() string {
	who := cmp.Or(f.Name, "the server's process")
	if signal := int64(f.Value) - 128; signal > 0 && signal < 65 {
		return fmt.Sprintf("%s was ended by signal %d%s", who, signal, parenthesized(signals[signal]))
	}
	return fmt.Sprintf("%s ended with exit code %.0f", who, f.Value)
}

func parenthesized(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// finish adds what is the same of all stories.
func (c *clues) finish(s Story) Story {
	if s.Cause != FailedOver && c.saw("failover") {
		s.Also = append(s.Also, "the address leads to another server since")
	}
	if s.Cause != Promoted && c.saw("promotion") {
		s.Also = append(s.Also, "the standby was promoted")
	}
	if text := c.recovery(); text != "" {
		s.Also = append(s.Also, text)
	}
	slices.SortStableFunc(c.evidence, func(a, b Evidence) int { return a.At.Compare(b.At) })
	// More than one rule cites a failure, and a read that fails is tried again at once: what looks the same is shown once.
	once := slices.CompactFunc(c.evidence, func(a, b Evidence) bool {
		return a.Source == b.Source && a.Text == b.Text && a.At.Sub(b.At).Abs() < time.Millisecond
	})
	s.Evidence = once[:min(len(once), maxEvidence)]
	// Lists are lists, also in JSON.
	s.Evidence, s.Also, s.Missing = append([]Evidence{}, s.Evidence...), append([]string{}, s.Also...), append([]string{}, s.Missing...)
	return s
}

// recovery says how much of the incident was the server's recovery.
func (c *clues) recovery() string {
	starts := c.events(serverlog.Recovering, serverlog.WasInterrupted, serverlog.RedoStarts)
	ready := c.events(serverlog.Ready, serverlog.ReadyReadOnly)
	if len(starts) == 0 || len(ready) == 0 {
		return ""
	}
	from, to := starts[0].At, ready[len(ready)-1].At
	if to.Before(from) {
		return ""
	}
	text := "crash recovery took " + lasting(to.Sub(from))
	if total := c.w.End.Sub(c.w.Start); !c.w.End.IsZero() && total > 0 {
		text += fmt.Sprintf(" of the %s", lasting(total))
	}
	redo, done := c.events(serverlog.RedoStarts), c.events(serverlog.RedoDone)
	if len(redo) > 0 && len(done) > 0 {
		text += fmt.Sprintf(" (redo %s)", lasting(done[len(done)-1].At.Sub(redo[0].At)))
	}
	return text
}

func lasting(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", max(0, d.Round(time.Millisecond).Milliseconds()))
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
}
