package offsite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxAnswer is more than any answer of a store takes that is no object: a page of a list has a thousand names.
const maxAnswer = 16 << 20

// answers bounds what a store answers beside objects: lists, results, errors. None is longer than maxAnswer, and none may take longer than
// the limit from its head to its end, however slowly it drips. What an object has is bounded by who reads it.
type answers struct {
	next  http.RoundTripper
	limit time.Duration
}

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	resp, err := a.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	b := &boundedBody{ReadCloser: resp.Body, ctx: ctx, left: -1, cancel: cancel}
	if r.Method != http.MethodGet || resp.StatusCode >= http.StatusMultipleChoices || len(r.URL.RawQuery) > 0 {
		b.left = maxAnswer
		b.timer = time.AfterFunc(a.limit, func() { cancel(fmt.Errorf("%w: its answer did not end within %s", errStalled, a.limit)) })
	}
	resp.Body = b
	return resp, nil
}

// boundedBody is an answer's body. left is how much may still come, or -1 for any.
type boundedBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	left   int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, fmt.Errorf("the store's answer is longer than %d bytes", maxAnswer)
	}
	if b.left > 0 {
		p = p[:min(len(p), b.left)]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left > 0 {
		b.left -= n
	}
	if err != nil && !errors.Is(err, io.EOF) && context.Cause(b.ctx) != nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}

func (b *boundedBody) Close() error {
	if b.timer != nil {
		b.timer.Stop()
	}
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
