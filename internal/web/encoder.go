package web

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// encoders are as many as may work at once. The one that worked last works next: usually that is all that are ever made.
type encoders struct {
	turns chan struct{}
	mu    sync.Mutex
	idle  []*encoder
}

func newEncoders(atOnce int) *encoders { return &encoders{turns: make(chan struct{}, atOnce)} }

// take waits for a turn; nil when ctx ends first.
func (p *encoders) take(ctx context.Context) *encoder {
	select {
	case p.turns <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		e := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return e
	}
	return &encoder{}
}

func (p *encoders) giveBack(e *encoder) {
	p.mu.Lock()
	p.idle = append(p.idle, e)
	p.mu.Unlock()
	<-p.turns
}

// encoder makes pages of families, one at a time. It keeps its compressor: making one costs more than using it.
type encoder struct {
	gzip *gzipWriter // nil before the first page that wants it
	// size of the newest page, in bytes: the next one is likely to be as long.
	size int
}

// encode negotiates the format (text, OpenMetrics, protobuf with native histograms). Text is put together of what is written already;
// the other formats, and a choice of names, are promhttp's. gzip is done here: promhttp compresses harder than a local network needs, with
// a compressor that is made anew after each garbage collection. zstd is left out: the library's encoder takes 9.6 MB for each page, and
// Prometheus asks for gzip alone.
func (e *encoder) encode(p *pages, r *http.Request, families []*metric.Family) *bufferedPage {
	page := newBufferedPage()
	page.body.Grow(e.size)
	compress := acceptsGzip(r.Header)
	if compress {
		if e.gzip == nil {
			e.gzip = newGzipWriter()
		}
		_ = e.gzip.begin(&page.body) // into memory
		page.to = e.gzip
	}
	format := expfmt.NegotiateAccept(r.Header, expfmt.DefaultOpenMetricsAcceptedFormats()...)
	if text, ok := metric.TextFormatOf(format); ok && !r.URL.Query().Has("name[]") {
		page.header.Set("Content-Type", string(format))
		p.note("encoding", text.Write(page.to, families))
		return e.done(page, compress)
	}
	promhttp.HandlerFor(
		prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return metric.DTO(families), nil }),
		promhttp.HandlerOpts{
			ErrorHandling: promhttp.ContinueOnError, ErrorLog: encodingErrors{p}, EnableOpenMetrics: true, DisableCompression: true,
		},
	).ServeHTTP(page, r)
	return e.done(page, compress)
}

// done ends a page.
func (e *encoder) done(page *bufferedPage, compress bool) *bufferedPage {
	page.header.Set("Vary", "Accept, Accept-Encoding")
	if compress {
		_ = e.gzip.end() // into memory
		page.header.Set("Content-Encoding", "gzip")
	}
	e.size = page.body.Len() + page.body.Len()/16
	return page
}

// acceptsGzip reads Accept-Encoding (RFC 9110, section 12.5.3).
func acceptsGzip(h http.Header) bool {
	for _, coding := range strings.Split(strings.Join(h.Values("Accept-Encoding"), ","), ",") {
		name, parameters, _ := strings.Cut(coding, ";")
		if name = strings.TrimSpace(name); !strings.EqualFold(name, "gzip") && name != "*" {
			continue
		}
		quality := 1.0
		if q, ok := strings.CutPrefix(strings.ReplaceAll(parameters, " ", ""), "q="); ok {
			quality, _ = strconv.ParseFloat(q, 64)
		}
		return quality > 0
	}
	return false
}

// bufferedPage is a response that is kept until it is complete, and then read only: several clients may get it.
type bufferedPage struct {
	header http.Header
	status int
	body   bytes.Buffer
	to     io.Writer // the body, or the compressor before it
}

func newBufferedPage() *bufferedPage {
	page := &bufferedPage{header: http.Header{}, status: http.StatusOK}
	page.to = &page.body
	return page
}

func (p *bufferedPage) Header() http.Header         { return p.header }
func (p *bufferedPage) WriteHeader(status int)      { p.status = status }
func (p *bufferedPage) Write(b []byte) (int, error) { return p.to.Write(b) }

func (p *bufferedPage) writeTo(w http.ResponseWriter) {
	for name, values := range p.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(p.body.Len()))
	w.WriteHeader(p.status)
	_, _ = w.Write(p.body.Bytes()) // the client may have left; there is nobody to tell
}
