package offsite

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"
)

// abortPatience is how long ending a failed upload may take; what is left of it is removed the next time.
const abortPatience = 10 * time.Second

// quickAbort bounds the request that ends a multipart upload: the client sends it after a failure
// whatever became of the context, and a store that hangs would hold an interrupted job for a minute.
type quickAbort struct {
	next  http.RoundTripper
	limit time.Duration
}

func (q quickAbort) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodDelete || !r.URL.Query().Has("uploadId") {
		return q.next.RoundTrip(r)
	}
	ctx, cancel := context.WithTimeout(r.Context(), q.limit)
	defer cancel()
	resp, err := q.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	const enough = 1 << 20 // an error's text
	body, err := io.ReadAll(io.LimitReader(resp.Body, enough))
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}
