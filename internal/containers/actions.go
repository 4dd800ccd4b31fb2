package containers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Restart restarts a container; its processes have the grace time to end. It returns when the container has been started
// again, which says nothing of the server in it.
func (e *Engine) Restart(ctx context.Context, name string, grace time.Duration) error {
	resp, err := e.ask(ctx, http.MethodPost, name, "restart", url.Values{"t": {strconv.Itoa(int(grace.Seconds()))}})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// End is one end of a container's processes.
type End struct {
	At time.Time
	// ExitCode is the first process's; one that a signal ended has its number and 128.
	ExitCode int
	// OutOfMemory: the kernel killed a process of it for want of memory; then there is no exit code.
	OutOfMemory bool
}

const (
	// maxEvents and maxEvent bound what is read of the engine's events, which it keeps 256 of.
	maxEvents = 100
	maxEvent  = 64 << 10
)

// Ends lists how a container ended in a time that is over, the oldest first: from the engine's memory, which is short.
func (e *Engine) Ends(ctx context.Context, name string, since, until time.Time) ([]End, error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	filters, err := json.Marshal(map[string][]string{"container": {name}, "event": {"die", "oom"}})
	if err != nil {
		return nil, fmt.Errorf("ask the container engine at %s: %w", e.host, err)
	}
	query := url.Values{"filters": {string(filters)}, "since": {stamp(since)}, "until": {stamp(until)}}
	resp, err := e.request(ctx, http.MethodGet, "/events", name, "events", query)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var ends []End
	answers := json.NewDecoder(io.LimitReader(resp.Body, maxEvents*maxEvent))
	for len(ends) < maxEvents {
		var event struct {
			Action   string
			TimeNano int64 `json:"timeNano"`
			Actor    struct{ Attributes map[string]string }
		}
		switch err := answers.Decode(&event); {
		case errors.Is(err, io.EOF):
			return ends, nil
		case err != nil:
			return ends, fmt.Errorf("container engine at %s: its events of %s can't be read: %w", e.host, name, err)
		}
		end := End{At: time.Unix(0, event.TimeNano), OutOfMemory: event.Action == "oom"}
		if code, err := strconv.Atoi(event.Actor.Attributes["exitCode"]); err == nil {
			end.ExitCode = code
		} else if !end.OutOfMemory {
			continue
		}
		ends = append(ends, end)
	}
	return ends, nil
}

// stamp is a time as the engine takes it.
func stamp(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }

// Logs is the end of what a container wrote after a moment, and all it writes from then on, until the container ends or
// the log is closed. tail is how many lines of the past there are at most, negative for all; the zero time is any.
func (e *Engine) Logs(ctx context.Context, name string, tail int, after time.Time) (*Log, error) {
	inspection, err := e.Inspect(ctx, name)
	if err != nil {
		return nil, err
	}
	query := url.Values{"follow": {"1"}, "stdout": {"1"}, "stderr": {"1"}, "timestamps": {"1"}, "tail": {"all"}}
	if tail >= 0 {
		query.Set("tail", strconv.Itoa(tail))
	}
	if !after.IsZero() {
		since := after.Add(time.Nanosecond) // the engine takes it as the first moment
		query.Set("since", stamp(since))
	}
	resp, err := e.ask(ctx, http.MethodGet, name, "logs", query)
	if err != nil {
		return nil, err
	}
	l := &Log{body: resp.Body, text: bufio.NewReader(&frames{body: resp.Body}), begins: true}
	if inspection.Config.Tty {
		l.text = bufio.NewReader(resp.Body)
	}
	return l, nil
}

// Log is what a container writes. It is read by one goroutine.
type Log struct {
	body   io.Closer
	text   *bufio.Reader
	begins bool   // a line does next
	rest   []byte // read, and not handed out yet
	newest time.Time
}

// Newest is when the newest line that was begun was written, by the engine's clock; zero before the first.
func (l *Log) Newest() time.Time { return l.newest }

// Read implements io.Reader.
func (l *Log) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		line, err := l.text.ReadSlice('\n')
		if len(line) == 0 {
			return 0, err // with something, it comes again
		}
		if l.begins {
			line = l.stamped(line)
		}
		l.begins = err == nil // a line that is longer than the buffer goes on
		l.rest = line
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// stamped takes the engine's time off a line, where there is one.
func (l *Log) stamped(line []byte) []byte {
	stamp, text, found := bytes.Cut(line, []byte(" "))
	if !found {
		return line
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return line
	}
	l.newest = at
	return text
}

// Close implements io.Closer.
func (l *Log) Close() error { return l.body.Close() }

// frames takes the engine's headers out of a log: a byte for the stream, three of nothing, four for the length, big
// end first.
type frames struct {
	body io.Reader
	left int
}

func (f *frames) Read(p []byte) (int, error) {
	for f.left == 0 {
		var header [8]byte
		if _, err := io.ReadFull(f.body, header[:]); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return 0, fmt.Errorf("the container engine's log ends in the middle of a header: %w", err)
			}
			return 0, err
		}
		if header[0] > 2 || header[1] != 0 || header[2] != 0 || header[3] != 0 {
			return 0, errors.New("the container engine's log is not in the frames that its API describes")
		}
		f.left = int(binary.BigEndian.Uint32(header[4:]))
	}
	n, err := f.body.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, err
}
