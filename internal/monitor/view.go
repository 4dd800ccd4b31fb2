package monitor

import (
	"fmt"
	"math"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

const (
	keysLine     = "[B]ackup now  [L]ogs  [T]ree  [I]ncidents  [R]estart  [Q]uit  [?] help"
	keysLogsLine = "[L] back  [/] search  [N]ext  arrows, PgUp, PgDn  [F]ollow  [Q]uit"
	// minWidth and minHeight are what is needed to say anything.
	minWidth, minHeight = 40, 8
)

// View implements tea.Model.
func (s *Screen) View() tea.View {
	v := tea.NewView(s.draw())
	v.AltScreen = true
	v.WindowTitle = "pg_reliability_monitor"
	return v
}

// draw is the whole screen, exactly as high as the terminal and no wider.
func (s *Screen) draw() string {
	if s.width < minWidth || s.height < minHeight {
		return s.style.fit(s.word()+" (enlarge the window)", max(1, s.width))
	}
	var lines []string
	bottom := s.bottom()
	room := s.height - len(bottom)
	switch s.view {
	case logs:
		lines = s.drawLog(room)
	case tree:
		lines = s.drawTree()
	case incidents:
		lines = s.drawIncidents()
	case help:
		lines = s.drawHelp()
	default:
		lines = s.drawOverview(room)
	}
	if len(lines) > room {
		lines = lines[:room]
	}
	for len(lines) < room {
		lines = append(lines, "")
	}
	lines = append(lines, bottom...)
	for i := range lines {
		lines[i] = s.style.fit(lines[i], s.width)
	}
	return strings.Join(lines, "\n")
}

// bottom is what is asked or reported, and the keys.
func (s *Screen) bottom() []string {
	keys := keysLine
	if s.view == logs {
		keys = keysLogsLine
	}
	var lines []string
	switch {
	case s.log.typing:
		keys = fmt.Sprintf("search: %s_   (Enter keeps it, Esc drops it; %d lines match)", s.log.query, s.log.count())
	case s.asksRestart:
		lines = append(lines, s.wrapped(critical, fmt.Sprintf("Restart %s?", s.sources.Server.Name()))...)
		lines = append(lines, s.wrapped(critical, "Every client loses its connection. [Y]es, any other key: no")...)
	case s.restart != nil:
		lines = append(lines, s.restartLines()...)
	}
	if !s.backupSince.IsZero() {
		lines = append(lines, s.backupLine())
	}
	if s.notice.text != "" {
		lines = append(lines, s.wrapped(s.notice.tone, s.notice.text)...)
	}
	return append(lines, s.style.strong(keys))
}

// wrapped is a text that must be read to its end, in as many lines as it takes, up to four.
func (s *Screen) wrapped(t tone, text string) []string {
	const most = 4
	if s.whole {
		return []string{s.style.paint(t, text)}
	}
	lines := strings.Split(ansi.Wrap(text, s.width, " "), "\n")
	lines = lines[:min(len(lines), most)]
	for i := range lines {
		lines[i] = s.style.paint(t, lines[i])
	}
	return lines
}

func (s *Screen) restartLines() []string {
	took := s.now().Sub(s.restart.began)
	what := "is being restarted"
	switch {
	case s.restart.done.IsZero():
	case s.answers():
		what = "was restarted; the database from before still answers"
	default:
		what = "was restarted and does not answer yet"
	}
	t := warning
	if took > s.limits.Recovery {
		t = critical
		what += fmt.Sprintf(", longer than the %s aimed at: see [L]ogs", span(s.limits.Recovery))
	}
	return s.wrapped(t, fmt.Sprintf("%.1f s: %s %s", took.Seconds(), s.sources.Server.Name(), what))
}

func (s *Screen) backupLine() string {
	b := s.backup
	took := s.now().Sub(s.backupSince)
	if !b.Running {
		return s.style.paint(warning, fmt.Sprintf("Backup asked for, %s ago", span(took)))
	}
	line := fmt.Sprintf("Backup runs for %s: %s", span(took), b.Phase)
	if b.Total > 0 {
		done := float64(b.Bytes) / float64(b.Total)
		line += fmt.Sprintf(" %s %.0f %% of %s", s.style.bar(done, 20), 100*min(1, done), size(b.Total))
	} else if b.Bytes > 0 {
		line += " " + size(b.Bytes)
	}
	return s.style.paint(good, line)
}

// word is the state.
func (s *Screen) word() string {
	if s.status == nil || s.err != nil {
		return "UNKNOWN"
	}
	return strings.ToUpper(s.status.State.Status)
}

func (s *Screen) stateTone() tone {
	switch s.word() {
	case "UP":
		return good
	case "DOWN":
		return critical
	}
	return warning
}

func (s *Screen) drawOverview(room int) []string {
	lines := append(s.head(), s.unitLines()...)
	if s.status != nil {
		lines = append(lines, s.problems()...)
		lines = append(lines, s.service()...)
		lines = append(lines, s.resources()...)
		lines = append(lines, s.backups()...)
	}
	// The log has what is left, and at least its newest three lines; a small screen loses what stands last instead.
	const least = 4
	if room-len(lines) < least && room > 2*least {
		lines = lines[:min(len(lines), room-least)]
	}
	return append(lines, s.logEnd(room-len(lines))...)
}

// named is a line with a label, and as many of the parts as there is room for.
func (s *Screen) named(label, separator string, parts ...string) string {
	return s.style.named(label, s.style.list(s.room("")-labelWidth, separator, parts...))
}

// room is what is left of a line.
func (s *Screen) room(of string) int {
	if s.whole {
		return math.MaxInt32
	}
	return s.width - ansi.StringWidth(of)
}

// head is the name of the server, its state, and why.
func (s *Screen) head() []string {
	now := s.now().UTC().Format("15:04:05 UTC")
	name := "pg_reliability_monitor"
	if s.status != nil {
		name = s.status.Target
	}
	left := s.style.strong(s.style.fit(name, max(10, s.width-len(now)-2)))
	first := left + strings.Repeat(" ", max(1, s.width-ansi.StringWidth(left)-len(now))) + now
	if s.status == nil {
		if s.err != nil {
			return append([]string{first, s.style.chip(warning, "UNKNOWN") + " the exporter does not tell"}, s.wrapped(warning, s.err.Error())...)
		}
		return []string{first, s.style.chip(plain, "...") + " asking " + s.sources.Status.Where()}
	}
	st := s.status.State
	second := s.style.chip(s.stateTone(), s.word())
	if s.err != nil {
		second += fmt.Sprintf(" for %s; all below is of %s", span(s.now().Sub(s.statusAt)), s.statusAt.UTC().Format("15:04:05"))
		return append([]string{first, second}, s.wrapped(warning, s.err.Error())...)
	}
	if st.Since != nil {
		second += " for " + span(s.now().Sub(*st.Since))
	}
	second += "  " + s.style.list(s.room(second)-2, ", ", s.server()...)
	third := st.Message
	if st.Cause != "" {
		third += ": " + st.Cause
	}
	t := s.stateTone()
	if t == good {
		t = plain
	}
	return append([]string{first, second}, s.wrapped(t, third)...) // a failure's text ends with what matters
}

func (s *Screen) server() []string {
	v := s.status.Server
	if v == nil {
		return nil
	}
	parts := []string{"PostgreSQL " + v.Version}
	if v.Role != "" {
		parts = append(parts, v.Role)
	}
	if v.ReplayLagSeconds != nil {
		parts = append(parts, "replay lag "+latency(v.ReplayLagSeconds))
	}
	if v.StartedAt != nil {
		parts = append(parts, "started "+ago(s.now(), *v.StartedAt))
	}
	return parts
}

// problems are at most four, the worst first.
func (s *Screen) problems() []string {
	const most = 4
	var lines []string
	for _, severity := range []string{status.Critical, status.Warning} {
		for _, p := range s.status.Problems {
			if p.Severity != severity {
				continue
			}
			t := warning
			if severity == status.Critical {
				t = critical
			}
			lines = append(lines, s.style.paint(t, s.style.list(s.room(""), " ", strings.ToUpper(severity)+": "+p.Message, "("+p.Alert+")")))
		}
	}
	if len(lines) > most {
		more := len(lines) - most + 1
		lines = append(lines[:most-1], s.style.paint(warning, fmt.Sprintf("and %d more: see the status page", more)))
	}
	return lines
}

// service is what clients feel.
func (s *Screen) service() []string {
	a, o := s.status.Availability, s.status.Outages
	var probes []string
	for _, p := range s.status.Probes {
		word := latency(p.LatencySeconds)
		if p.Status != status.Up {
			word = s.style.paint(critical, strings.ToUpper(p.Reason))
		}
		probes = append(probes, p.Name+" "+word)
	}
	if len(s.samples) > 1 {
		const least, most = 6, 60
		width := s.width - labelWidth - ansi.StringWidth(strings.Join(probes, "  ")) - 2
		width = max(least, min(most, width))
		spark := s.style.spark(s.samples, width)
		probes = append([]string{spark + strings.Repeat(" ", width-ansi.StringWidth(spark))}, probes...)
	}
	outages := []string{"none seen"}
	if o.Count > 0 {
		outages = append([]string{fmt.Sprint(o.Count)}, s.lastOutage()...)
		outages = append(outages, "together "+span(seconds(o.DowntimeSeconds)))
	}
	lines := []string{
		s.named("Latency", "  ", probes...),
		s.named("Available", "  ", s.available(a)...),
		s.named("Outages", ", ", outages...),
		s.named("Restarts", ", ", s.restarts()...),
	}
	lines = append(lines, s.blocked()...)
	if c := s.status.Container; c != nil {
		lines = append(lines, s.named("Container", ", ", s.container(c)...))
	} else if _, ours := s.sources.Server.(*Container); ours {
		lines = append(lines, s.named("Container", "", s.style.paint(faint, "unknown to the exporter: has it a --container.name?")))
	}
	return append(lines, s.watchdog()...)
}

// watchdog is shown where there is one.
func (s *Screen) watchdog() []string {
	w := s.status.Watchdog
	if !w.On {
		return nil
	}
	parts := []string{"on, after " + span(seconds(w.AfterSeconds))}
	if w.Idle != "" {
		parts = []string{s.style.paint(warning, "does nothing: "+w.Idle)}
	}
	if w.LastRestartAt != nil {
		parts = append(parts, "acted "+ago(s.now(), *w.LastRestartAt))
	} else {
		parts = append(parts, "never acted")
	}
	if w.LeftAloneAt != nil {
		parts = append(parts, "left it alone "+ago(s.now(), *w.LeftAloneAt)+": "+w.LeftAlone)
	}
	return []string{s.named("Watchdog", "; ", parts...)}
}

// available says for how long anybody looked, where that is less than the longest window: 100 % of a minute is no 100 % of 30 days.
func (s *Screen) available(a status.Availability) []string {
	parts := []string{"hour " + percent(a.Hour.Ratio), "day " + percent(a.Day.Ratio), "30 d " + percent(a.Month.Ratio)}
	if seen := a.Month.Observed(); seen > 0 {
		parts = append(parts, "of the "+span(seconds(seen))+" observed")
	}
	return append(parts, "budget left "+s.budget())
}

func (s *Screen) lastOutage() []string {
	if len(s.status.Outages.Recent) == 0 {
		return nil
	}
	last := s.status.Outages.Recent[0]
	when := "last " + ago(s.now(), last.Start)
	if last.End == nil {
		when = s.style.paint(critical, "in progress")
	}
	parts := []string{fmt.Sprintf("%s for %s: %s", when, span(seconds(last.Seconds)), strings.ReplaceAll(last.Reason, "_", " "))}
	if why := last.Restarted(); why != "" {
		parts = append(parts, why)
	}
	return parts
}

func (s *Screen) budget() string {
	b := s.status.Availability.Budget
	left := span(seconds(b.LeftSeconds))
	if b.LeftSeconds < 0 {
		return s.style.paint(critical, left+" (spent)")
	}
	return left
}

func (s *Screen) restarts() []string {
	var parts []string
	var newest time.Time
	for _, r := range s.status.Restarts {
		if r.Count != nil && *r.Count > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", r.Kind, *r.Count))
		}
		if r.LastAt != nil && r.LastAt.After(newest) {
			newest = *r.LastAt
		}
	}
	if len(parts) == 0 {
		return []string{"none seen"}
	}
	if !newest.IsZero() {
		parts = append(parts, "last "+ago(s.now(), newest))
	}
	return parts
}

// container is what its engine says of it.
func (s *Screen) container(c *status.Container) []string {
	parts := []string{c.State}
	if !c.Running {
		parts[0] = s.style.paint(critical, strings.ToUpper(c.State))
	}
	switch c.Health {
	case "":
	case "unhealthy":
		parts = append(parts, s.style.paint(critical, "UNHEALTHY"))
	default:
		parts = append(parts, c.Health)
	}
	if c.OOMKilled {
		parts = append(parts, s.style.paint(critical, "OUT OF MEMORY"))
	}
	parts = append(parts, fmt.Sprintf("restart count %d", c.RestartCount))
	if c.StartedAt != nil {
		parts = append(parts, "started "+ago(s.now(), *c.StartedAt))
	}
	return append(parts, c.Name)
}

func (s *Screen) drawHelp() []string {
	sources := func(what, name, why string) string {
		if name == "" {
			return s.style.named(what, "no: "+why)
		}
		return s.style.named(what, name)
	}
	server, log, backup := "", "", ""
	if s.sources.Server != nil {
		server = s.sources.Server.Name()
	}
	if s.sources.Log != nil {
		log = s.sources.Log.Name()
	}
	if s.sources.Backup != nil {
		backup = "through the backup job"
	}
	return []string{
		s.style.strong("pg_reliability_monitor"), "",
		"B    make a backup now, and show how far it is",
		"L    the server's log; there: / search, n and N next match, f follow",
		"T    the tree of who blocks whom, and the statement that ends it",
		"I    outages and other incidents, and why they came",
		"R    restart the database: asks first, and counts the seconds to recovery",
		"S Q  stop this screen; the database is not touched",
		"?    this page; Esc goes back", "",
		"Latency: one mark a second, from 0.1 ms (low) to 1 s (high); x is a probe that failed.", "",
		s.style.named("Exporter", s.sources.Status.Where()),
		sources("Restart", server, s.sources.NoServer),
		sources("Log", log, s.sources.NoLog),
		sources("Backup", backup, s.sources.NoBackup),
	}
}
