package main

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far a command is: a bar on a terminal, a log line now and then elsewhere.
type progress struct {
	log      log.Logger
	terminal io.Writer // nil when there is none
	// also is told, too, if not nil. Set it before the first report.
	also func(phase string, done, total int64)

	mu    sync.Mutex
	phase string
	bar   *progressbar.ProgressBar
	began time.Time
	said  time.Time
}

// sayEvery is the time between two log lines about the same phase.
const sayEvery = 30 * time.Second

func newProgress(w io.Writer, logger log.Logger) *progress {
	p := &progress{log: logger}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.terminal = f
	}
	return p
}

// report is called by those who work. A total of 0 is unknown.
func (p *progress) report(phase string, done, total int64) {
	if p == nil {
		return
	}
	if p.also != nil {
		p.also(phase, done, total)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if phase != p.phase {
		p.end()
		p.phase, p.began, p.said = phase, now, now
		if p.terminal == nil {
			_ = level.Debug(p.log).Log("msg", "phase", "phase", phase)
		} else {
			p.bar = newBar(p.terminal, phase, total)
		}
	}
	if p.bar != nil {
		if total > 0 && p.bar.GetMax64() != total {
			p.bar.ChangeMax64(total)
		}
		_ = p.bar.Set64(done)
		return
	}
	if now.Sub(p.said) >= sayEvery {
		p.said = now
		rate := float64(done) / now.Sub(p.began).Seconds() / 1e6
		_ = level.Info(p.log).Log("msg", "progress", "phase", phase, "bytes", done, "of", total, "mb_per_second", int(rate))
	}
}

// done ends the last phase.
func (p *progress) done() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
	p.phase = ""
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}

func newBar(w io.Writer, phase string, total int64) *progressbar.ProgressBar {
	if total <= 0 {
		total = -1
	}
	return progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(phase), progressbar.OptionShowBytes(true),
		progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
		progressbar.OptionShowElapsedTimeOnFinish())
}
