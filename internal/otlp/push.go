// Package otlp sends what pg_reliability_exporter shows to an OpenTelemetry receiver: it reads the exporter's pages as Prometheus
// would, OpenTelemetry's own bridge (go.opentelemetry.io/contrib/bridges/prometheus) converts them, and its exporter posts them by
// HTTP. Names, labels and values stay what they are; each page is a resource.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	"google.golang.org/protobuf/proto"

	"github.com/pg-reliability/pg_reliability_exporter/internal/smallfile"
)

// Options of a pusher; all but HeadersFile are required.
type Options struct {
	Exporter *Exporter
	// Endpoint takes the metrics, such as http://collector:4318/v1/metrics.
	Endpoint *url.URL
	// HeadersFile has headers for the endpoint, one "Name: value" a line. It is read before each push: a token may change.
	HeadersFile string
	// Interval is the time between pushes, and what one may take.
	Interval time.Duration
	// Client is for the endpoint. It follows no redirect: the headers are for nobody else.
	Client *http.Client
	Logger log.Logger
}

// Pusher pushes.
type Pusher struct {
	o    Options
	said map[string]string // what the log last said of a page, or of the receiver; empty is well
}

// New makes one. Run pushes.
func New(o Options) *Pusher { return &Pusher{o: o, said: map[string]string{}} }

// Run pushes at each interval until ctx ends.
func (p *Pusher) Run(ctx context.Context) {
	ticker := time.NewTicker(p.o.Interval)
	defer ticker.Stop()
	for {
		p.push(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// push sends each page once. One that can't be read is sent as up = 0, as Prometheus has it.
func (p *Pusher) push(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.o.Interval)
	defer cancel()
	pages, err := p.o.Exporter.pages(ctx)
	p.note(ctx, "the exporter", err)
	if err != nil {
		pages = []page{{name: p.o.Exporter.URL.Host, path: p.o.Exporter.MetricsPath}}
	}
	receiver, err := p.receiver(ctx)
	if err != nil {
		p.note(ctx, "the receiver", err)
		return
	}
	var failed error
	for _, is := range pages {
		families, err := p.o.Exporter.read(ctx, is)
		p.note(ctx, is.name, err)
		up := 1.0
		if err != nil {
			families, up = nil, 0
		}
		scopes, err := produce(ctx, append(families, gauge("up", "Whether the exporter's page could be read.", up)))
		p.note(ctx, is.name+", converted", err) // what can be converted is sent
		if err := receiver.Export(ctx, &metricdata.ResourceMetrics{Resource: is.resource(), ScopeMetrics: scopes}); err != nil {
			failed = fmt.Errorf("send the page of %s: %w", is.name, err)
		}
	}
	p.note(ctx, "the receiver", failed)
	_ = receiver.Shutdown(ctx) // it keeps nothing
}

// note logs when something begins to fail, fails otherwise, and works again.
func (p *Pusher) note(ctx context.Context, what string, err error) {
	now := ""
	if err != nil {
		now = err.Error()
	}
	if now == p.said[what] || errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	if p.said[what] = now; err != nil {
		_ = level.Warn(p.o.Logger).Log("msg", "metrics can't be sent", "of", what, "err", err)
		return
	}
	_ = level.Info(p.o.Logger).Log("msg", "metrics are sent again", "of", what)
}

// receiver leads to the endpoint, with the headers of now.
func (p *Pusher) receiver(ctx context.Context) (*otlpmetrichttp.Exporter, error) {
	headers, err := readHeaders(p.o.HeadersFile)
	if err != nil {
		return nil, err
	}
	return otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpointURL(p.o.Endpoint.String()), otlpmetrichttp.WithHTTPClient(p.o.Client),
		otlpmetrichttp.WithHeaders(headers), otlpmetrichttp.WithTimeout(p.o.Interval),
		otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression),
		otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig{Enabled: true, InitialInterval: time.Second, MaxInterval: p.o.Interval,
			MaxElapsedTime: p.o.Interval}))
}

// readHeaders reads one "Name: value" a line; an empty name of a file has none. No error repeats a value.
func readHeaders(file string) (map[string]string, error) {
	headers := map[string]string{}
	if file == "" {
		return headers, nil
	}
	text, err := smallfile.Read(file)
	if err != nil {
		return nil, fmt.Errorf("--otlp.headers-file: %w", err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("--otlp.headers-file: %s:%d is no header. HINT: Write one a line, as in Authorization: Bearer TOKEN", file, n)
		}
		headers[name] = strings.TrimSpace(value)
	}
	return headers, nil
}

// produce has the bridge convert.
func produce(ctx context.Context, families []*dto.MetricFamily) ([]metricdata.ScopeMetrics, error) {
	g := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil })
	return bridge.NewMetricProducer(bridge.WithGatherer(g)).Produce(ctx)
}

func gauge(name, help string, value float64) *dto.MetricFamily {
	return &dto.MetricFamily{Name: proto.String(name), Help: proto.String(help), Type: dto.MetricType_GAUGE.Enum(),
		Metric: []*dto.Metric{{Gauge: &dto.Gauge{Value: proto.Float64(value)}}}}
}

// resource tells a page's server: service.instance.id is what Prometheus calls instance, the other labels of a target are attributes.
func (p page) resource() *resource.Resource {
	attributes := []attribute.KeyValue{
		attribute.String("service.name", "pg_reliability_exporter"), attribute.String("service.instance.id", p.name),
	}
	for name, value := range p.labels {
		attributes = append(attributes, attribute.String(name, value))
	}
	return resource.NewSchemaless(attributes...)
}

func seconds(deadline time.Time) string {
	return strconv.FormatFloat(max(time.Until(deadline).Seconds(), 0.1), 'f', 1, 64)
}
