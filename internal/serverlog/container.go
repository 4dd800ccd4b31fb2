package serverlog

import (
	"context"
	"fmt"
	"time"
)

const (
	// reconnect is how long a container's log is let alone after it ended.
	reconnect    = time.Second
	maxReconnect = 15 * time.Second
	// maxLag is how far we may be behind a container's log; then reading goes on at its end.
	maxLag = 10 * time.Minute
	// bringing is what a byte costs until it is here, beside what is done with it: an engine may send far more than a server writes.
	bringing = 4 * time.Nanosecond
)

// piece is what came of a container's log at once, and when its newest line was written.
type piece struct {
	data   []byte
	newest time.Time
}

// followContainer reads the log of a container, again and again: it ends with the container.
func (l *Log) followContainer(ctx context.Context) {
	wait := reconnect
	for ctx.Err() == nil {
		began := time.Now()
		err := l.readContainer(ctx)
		if err == nil || time.Since(began) > maxReconnect {
			wait = reconnect
		}
		if err != nil && ctx.Err() == nil {
			l.containerState.set(l.o.Logger, err)
		}
		l.positions.saveSoon(l.now())
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, maxReconnect)
	}
}

func (l *Log) readContainer(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	after, tail := l.positions.container(l.o.Container), -1
	switch {
	case after.IsZero():
		tail = 0
	case l.now().Sub(after) > maxLag:
		after = l.now().Add(-maxLag)
		l.counts.skips.Add(1)
	}
	log, err := l.o.Engine.Logs(ctx, l.o.Container, tail, after)
	if err != nil {
		return fmt.Errorf("read the log of container %s: %w", l.o.Container, err)
	}
	defer log.Close()
	l.containerState.set(l.o.Logger, nil)
	pieces := make(chan piece, 16)
	go func() {
		for {
			buffer := make([]byte, 4<<10)
			n, err := log.Read(buffer)
			if n > 0 {
				select {
				case pieces <- piece{buffer[:n], log.Newest()}:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				close(pieces) // the container has ended, or the engine: it is asked anew
				return
			}
		}
	}()
	l.takePieces(ctx, pieces)
	return nil
}

// takePieces reads until the log ends. Whoever reads slowly makes the engine wait, and never the server.
func (l *Log) takePieces(ctx context.Context, pieces <-chan piece) {
	rd := &reader{log: l}
	var cut lines
	var f format
	defer func() {
		if f != nil {
			f.flush()
		}
	}()
	idle := time.NewTimer(idleFlush)
	defer idle.Stop()
	saves := time.NewTicker(saveInterval)
	defer saves.Stop()
	var worked time.Duration
	for {
		select {
		case <-ctx.Done():
			return
		case <-saves.C:
			l.positions.saveSoon(l.now())
		case <-idle.C:
			if f != nil {
				f.flush()
			}
		case p, open := <-pieces:
			if !open {
				return
			}
			began := time.Now()
			if f == nil {
				f = newFormat(l.words, rd, &l.prefix, "", p.data)
			}
			rd.live = l.now().Sub(p.newest) < 5*time.Second
			rd.clock.zone = l.zone.Load()
			before := cut.tooLong
			cut.feed(p.data, f)
			l.took(len(p.data))
			l.counts.tooLong.Add(cut.tooLong - before)
			if !p.newest.IsZero() {
				l.positions.setContainer(l.o.Container, p.newest)
			}
			idle.Reset(idleFlush)
			if worked += time.Since(began) + time.Duration(len(p.data))*bringing; worked > 10*time.Millisecond {
				time.Sleep(restFactor * worked)
				worked = 0
			}
		}
	}
}
