package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

const (
	// pollEvery is how often the exporter is asked; while the server restarts, pollRestart.
	pollEvery   = time.Second
	pollRestart = 200 * time.Millisecond
	// restartNoticed is when the exporter has met a server that was restarted for sure.
	restartNoticed = 10 * time.Second
	// noticeFor is how long news of a finished order stay.
	noticeFor = 30 * time.Second
	// keptSamples is more than a screen is wide.
	keptSamples = 400
	// logRetry is the pause before a log that ended is opened again.
	logRetry = 2 * time.Second
	// logLines are asked for at first.
	logLines = 500
)

// view is what the whole screen shows.
type view int

const (
	overview view = iota
	logs
	tree
	incidents
	help
)

// tone is how bad something is; it has a colour, and a word wherever it matters.
type tone int

const (
	plain tone = iota
	good
	warning
	critical
	faint
)

// notice is one line of news above the keys.
type notice struct {
	text  string
	tone  tone
	until time.Time // zero: until something replaces it
}

// sample is one look at the read probe.
type sample struct {
	known, ok bool
	seconds   float64
}

// restarting is an order to restart that was given and whose end is watched.
type restarting struct {
	began  time.Time
	before *time.Time // when the server was started that is restarted; nil where it was unknown
	done   time.Time  // when the order was carried out; zero before
}

// Screen is the terminal screen, a model of bubbletea.
type Screen struct {
	ctx     context.Context
	sources Sources
	limits  Limits
	style   style
	now     func() time.Time

	width, height int
	whole         bool // lines may be wider
	view          view
	notice        notice

	status    *status.Status
	statusAt  time.Time // of the last answer
	err       error     // of the newest question
	asking    bool
	samples   []sample
	sampledAt time.Time

	unit       *unitMsg // nil before the first answer
	askingUnit bool

	incidents       *incidentsMsg // nil before the first answer
	askingIncidents bool

	asksRestart bool
	restart     *restarting

	backup      BackupProgress
	backupSince time.Time // when it was ordered here; zero when not
	log         logView
}

// Options of a Screen.
type Options struct {
	Sources Sources
	Limits  Limits
	// ASCII draws bars and lines with what every terminal has.
	ASCII bool
	// Colour is off for --once into a file; on a terminal bubbletea takes out what the terminal can't show.
	Colour bool
}

// New makes a screen; the context ends what it has begun.
func New(ctx context.Context, o Options) *Screen {
	return &Screen{ctx: ctx, sources: o.Sources, limits: o.Limits, style: newStyle(o.ASCII, o.Colour), now: time.Now,
		width: 80, height: 24, log: newLogView()}
}

type (
	tickMsg   struct{}
	statusMsg struct {
		status *status.Status
		err    error
	}
	backupMsg struct {
		progress BackupProgress
		err      error
	}
	backupAskedMsg struct {
		began bool
		err   error
	}
	restartedMsg struct{ err error }
	logOpenMsg   struct {
		lines <-chan string
		err   func() error
	}
	logLinesMsg struct {
		from  logOpenMsg
		lines []string
	}
	logEndMsg struct{ err error }
)

// Init implements tea.Model.
func (s *Screen) Init() tea.Cmd {
	s.asking = true
	return tea.Batch(s.askStatus, s.askUnit(), s.tick(), s.openLog(0))
}

func (s *Screen) tick() tea.Cmd {
	every := pollEvery
	if s.restart != nil {
		every = pollRestart
	}
	return tea.Tick(every, func(time.Time) tea.Msg { return tickMsg{} })
}

func (s *Screen) askStatus() tea.Msg {
	st, _, err := s.sources.Status.Status(s.ctx)
	return statusMsg{status: st, err: err}
}

func (s *Screen) askProgress() tea.Msg {
	p, err := s.sources.Backup.Progress(s.ctx)
	return backupMsg{progress: p, err: err}
}

// Update implements tea.Model.
func (s *Screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return s, s.key(msg)
	case tickMsg:
		return s, s.ticked()
	case statusMsg:
		s.answered(msg)
	case unitMsg:
		s.unitAnswered(msg)
	case incidentsMsg:
		s.incidents, s.askingIncidents = &msg, false
	case backupAskedMsg:
		return s, s.backupAsked(msg)
	case backupMsg:
		s.progressed(msg)
	case restartedMsg:
		s.restarted(msg)
	case logOpenMsg:
		return s, readLog(msg)
	case logLinesMsg:
		s.log.add(msg.lines)
		return s, readLog(msg.from)
	case logEndMsg:
		s.log.ended(msg.err)
		return s, s.openLog(logRetry)
	}
	return s, nil
}

func (s *Screen) ticked() tea.Cmd {
	if !s.notice.until.IsZero() && s.now().After(s.notice.until) {
		s.notice = notice{}
	}
	cmds := []tea.Cmd{s.tick(), s.askUnit()}
	if !s.asking {
		s.asking = true
		cmds = append(cmds, s.askStatus)
	}
	if !s.backupSince.IsZero() {
		cmds = append(cmds, s.askProgress)
	}
	if s.view == incidents {
		cmds = append(cmds, s.askIncidents())
	}
	return tea.Batch(cmds...)
}

func (s *Screen) answered(msg statusMsg) {
	s.asking = false
	if s.err = msg.err; msg.err != nil {
		s.sample(sample{})
		return
	}
	s.status, s.statusAt = msg.status, s.now()
	s.sample(readSample(msg.status))
	s.watchRecovery()
}

func (s *Screen) sample(x sample) {
	if s.now().Sub(s.sampledAt) < pollEvery-pollRestart/2 { // a restart is watched more closely
		return
	}
	s.sampledAt = s.now()
	s.samples = append(s.samples, x)
	if len(s.samples) > keptSamples {
		s.samples = append([]sample(nil), s.samples[len(s.samples)-keptSamples/2:]...)
	}
}

func readSample(st *status.Status) sample {
	for _, p := range st.Probes {
		if p.Name == "read" && p.Status != status.Unknown {
			x := sample{known: true, ok: p.Status == status.Up}
			if p.LatencySeconds != nil {
				x.seconds = *p.LatencySeconds
			}
			return x
		}
	}
	return sample{}
}

func (s *Screen) say(t tone, format string, args ...any) {
	s.notice = notice{text: fmt.Sprintf(format, args...), tone: t, until: s.now().Add(noticeFor)}
}

// orderBackup is the key B.
func (s *Screen) orderBackup() tea.Cmd {
	if s.sources.Backup == nil {
		s.say(warning, "No backup from here: %s", s.sources.NoBackup)
		return nil
	}
	s.backup, s.backupSince = BackupProgress{}, s.now()
	s.notice = notice{}
	return func() tea.Msg {
		began, err := s.sources.Backup.Start(s.ctx)
		return backupAskedMsg{began: began, err: err}
	}
}

func (s *Screen) backupAsked(msg backupAskedMsg) tea.Cmd {
	if msg.err != nil {
		s.backupSince = time.Time{}
		s.say(critical, "The backup was not begun: %v", msg.err)
		return nil
	}
	if !msg.began {
		s.say(plain, "One was under way already")
	}
	return s.askProgress
}

func (s *Screen) progressed(msg backupMsg) {
	if msg.err != nil {
		s.say(critical, "How far the backup is can't be told: %v", msg.err)
		return
	}
	s.backup = msg.progress
	if s.backupSince.IsZero() || msg.progress.Waiting || msg.progress.Running {
		return
	}
	s.backupSince = time.Time{}
	switch last := msg.progress.Last; {
	case last == nil:
		s.say(warning, "The backup job was started anew meanwhile: look at its log")
	case !last.OK:
		s.say(critical, "The backup FAILED: %s", last.Message)
	case last.Message != "":
		s.say(warning, "Backup %s is made (%s), but: %s", last.ID, last.State, last.Message)
	default:
		s.say(good, "Backup %s is made: %s", last.ID, last.State)
	}
}

// askRestart is the key R.
func (s *Screen) askRestart() {
	switch {
	case s.sources.Server == nil:
		s.say(warning, "No restart from here: %s", s.sources.NoServer)
	case s.restart != nil && s.restart.done.IsZero():
	default: // also when the one before has not brought the server back
		s.asksRestart, s.notice = true, notice{}
	}
}

func (s *Screen) orderRestart() tea.Cmd {
	s.asksRestart = false
	r := &restarting{began: s.now()}
	if s.status != nil && s.status.Server != nil {
		r.before = s.status.Server.StartedAt
	}
	s.restart = r
	return func() tea.Msg { return restartedMsg{err: s.sources.Server.Restart(s.ctx)} }
}

func (s *Screen) restarted(msg restartedMsg) {
	if s.restart == nil {
		return
	}
	if msg.err != nil {
		s.restart = nil
		s.say(critical, "Not restarted: %v", msg.err)
		return
	}
	s.restart.done = s.now()
}

// watchRecovery ends a restart once the server answers that was started after it, or when the one before goes on.
func (s *Screen) watchRecovery() {
	r := s.restart
	if r == nil || r.done.IsZero() || !s.answers() {
		return
	}
	var started *time.Time
	if s.status.Server != nil {
		started = s.status.Server.StartedAt
	}
	switch {
	case r.before == nil || started != nil && !started.Equal(*r.before):
		s.restart = nil
		s.say(good, "Restarted: the database answers again after %.1f s", s.now().Sub(r.began).Seconds())
	case s.now().Sub(r.done) > restartNoticed+s.readAge():
		s.restart = nil
		s.say(critical, "NOT restarted: %s did as it was told, and the database that answers is the one from before", s.sources.Server.Name())
	}
}

// answers: the exporter said so just now.
func (s *Screen) answers() bool {
	return s.err == nil && s.status != nil && (s.status.State.Status == status.Up || s.status.State.Status == status.Degraded)
}

// readAge is how long ago the read probe looked, by the exporter's clock.
func (s *Screen) readAge() time.Duration {
	for _, p := range s.status.Probes {
		if p.Name == "read" && p.CheckedAt != nil {
			return s.status.GeneratedAt.Sub(*p.CheckedAt)
		}
	}
	return 0
}

// openLog opens the log after a pause.
func (s *Screen) openLog(after time.Duration) tea.Cmd {
	if s.sources.Log == nil {
		return nil
	}
	lines := logLines
	if s.log.seen() {
		lines = 0 // the rest was read already
	}
	return func() tea.Msg {
		select {
		case <-s.ctx.Done():
			return logEndMsg{}
		case <-time.After(after):
		}
		r, err := s.sources.Log.Follow(s.ctx, lines)
		if err != nil {
			return logEndMsg{err: err}
		}
		ch := make(chan string, 256)
		var failed error
		go func() {
			defer close(ch)
			defer r.Close()
			failed = scan(s.ctx, r, ch)
		}()
		return logOpenMsg{lines: ch, err: func() error { return failed }}
	}
}

// readLog waits for a line and takes those that are there already with it.
func readLog(from logOpenMsg) tea.Cmd {
	return func() tea.Msg {
		line, ok := <-from.lines
		if !ok {
			if err := from.err(); err != nil && !errors.Is(err, io.EOF) {
				return logEndMsg{err: err}
			}
			return logEndMsg{}
		}
		lines := []string{line}
		for len(lines) < cap(from.lines) {
			select {
			case line, ok := <-from.lines:
				if !ok {
					return logLinesMsg{from: from, lines: lines}
				}
				lines = append(lines, line)
				continue
			default:
			}
			break
		}
		return logLinesMsg{from: from, lines: lines}
	}
}
