package containers

import (
	"context"
	"encoding/binary"
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

// Logs is the end of what a container wrote, and all it writes from then on, until the container ends or the reader is
// closed.
func (e *Engine) Logs(ctx context.Context, name string, tail int) (io.ReadCloser, error) {
	inspection, err := e.Inspect(ctx, name)
	if err != nil {
		return nil, err
	}
	resp, err := e.ask(ctx, http.MethodGet, name, "logs", url.Values{
		"follow": {"1"}, "stdout": {"1"}, "stderr": {"1"}, "tail": {strconv.Itoa(tail)},
	})
	if err != nil {
		return nil, err
	}
	if inspection.Config.Tty {
		return resp.Body, nil
	}
	return &frames{body: resp.Body}, nil
}

// frames takes the engine's headers out of a log: a byte for the stream, three of nothing, four for the length, big
// end first.
type frames struct {
	body io.ReadCloser
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

func (f *frames) Close() error { return f.body.Close() }
