// Package serverlog follows the server's own log, in files or in a container engine, and counts what it tells: messages by
// severity and SQLSTATE, failed logins, crashes, deadlocks. What tells of the server's state is handed on, for the story of an
// outage. It never asks the server, never holds up who writes the log, and takes a bounded part of one CPU and of memory,
// whatever the log holds: what can't be kept up with is left out, and counted.
package serverlog

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/containers"
)

// Options of a log. Files or Container are required, and Logger.
type Options struct {
	// Files are paths, with * and ? as in a shell.
	Files []string
	// Container is the name of the database's container in Engine.
	Container string
	Engine    *containers.Engine
	// Parameters keeps literals of statements and values of rows in events; without, they are masked.
	Parameters bool
	// OnEvent, if set, is told what tells of the server's state. It must not block.
	OnEvent func(Event)
	// Settings, if set, asks the server for its settings. It is asked again now and then: a reload changes them.
	Settings func(context.Context) (Settings, error)
	// StateDir keeps how far was read; empty keeps nothing.
	StateDir string
	Logger   log.Logger
}

// Settings are the server's own that say how its log is to be read.
type Settings struct {
	// Prefix is log_line_prefix, for the format stderr.
	Prefix string `json:"log_line_prefix,omitempty"`
	// TimeZone is log_timezone.
	TimeZone string `json:"log_timezone,omitempty"`
}

// Log follows the sources of one server.
type Log struct {
	o       Options
	words   *words
	classes *classIndex
	counts  counts
	now     func() time.Time

	prefix                    atomic.Pointer[prefix]
	zone                      atomic.Pointer[time.Location]
	followed                  atomic.Int64
	fileState, containerState sourceState
	positions                 *positions

	mu           sync.Mutex
	settings     Settings
	second, told int64 // events handed on in a second
}

// New checks the options; Run reads.
func New(o Options) (*Log, error) {
	if len(o.Files) == 0 && o.Container == "" {
		return nil, errors.New("no log is named. HINT: Name its files or its container")
	}
	for _, pattern := range o.Files {
		if _, err := filepath.Match(pattern, ""); err != nil || pattern == "" {
			return nil, fmt.Errorf("%q is no pattern of files. HINT: Write one such as /var/log/postgresql/*.json", pattern)
		}
	}
	if o.Container != "" && o.Engine == nil {
		return nil, errors.New("the container's engine is not named")
	}
	if o.OnEvent == nil {
		o.OnEvent = func(Event) {}
	}
	l := &Log{o: o, words: newWords(), classes: newClassIndex(), now: time.Now}
	l.fileState.name, l.containerState.name = "log files", "container's log"
	l.positions = newPositions(o.StateDir, o.Logger)
	return l, nil
}

// Learn takes the server's settings. It may be called at any time.
func (l *Log) Learn(s Settings) {
	l.mu.Lock()
	known := l.settings == s
	l.settings = s
	l.mu.Unlock()
	if known {
		return
	}
	l.prefix.Store(newPrefix(s.Prefix))
	if zone, err := time.LoadLocation(s.TimeZone); err == nil && s.TimeZone != "" {
		l.zone.Store(zone)
	}
	l.positions.learn(s)
}

// took notes that so many bytes were read.
func (l *Log) took(n int) {
	l.counts.bytes.Add(uint64(n))
	l.counts.written.Store(l.now().UnixMilli())
}

// Written is when the log was last seen to have grown; zero before the first time. A server that writes is alive.
func (l *Log) Written() time.Time {
	if ms := l.counts.written.Load(); ms != 0 {
		return time.UnixMilli(ms).UTC()
	}
	return time.Time{}
}

// stopTimeout is how long the end may take where a disk hangs.
const stopTimeout = 2 * time.Second

// Run follows the log until ctx ends, and notes how far it was read.
func (l *Log) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() {
		if s, ok := l.positions.load(); ok {
			l.Learn(s)
		}
		var sources sync.WaitGroup
		if len(l.o.Files) > 0 {
			sources.Go(func() { newFiles(l).run(ctx) })
		}
		if l.o.Settings != nil {
			sources.Go(func() { l.keepAsking(ctx) })
		}
		if l.o.Container != "" {
			sources.Go(func() { l.followContainer(ctx) })
		}
		sources.Wait()
		l.positions.save(l.now())
	})
	<-ctx.Done()
	ended := make(chan struct{})
	go func() { running.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(stopTimeout):
	}
}

const (
	askTimeout = 5 * time.Second
	// askAgain is how soon a server that did not say is asked again, and askAnew how soon one that did.
	askAgain = 10 * time.Second
	askAnew  = 5 * time.Minute
)

// SettingsSQL asks for what Settings holds, in its order.
const SettingsSQL = "SELECT pg_catalog.current_setting('log_line_prefix'), pg_catalog.current_setting('log_timezone')"

// keepAsking learns the server's settings, also those that a reload changes.
func (l *Log) keepAsking(ctx context.Context) {
	for ctx.Err() == nil {
		asking, cancel := context.WithTimeout(ctx, askTimeout)
		s, err := l.o.Settings(asking)
		cancel()
		wait := askAgain
		if err == nil {
			l.Learn(s)
			wait = askAnew
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}
