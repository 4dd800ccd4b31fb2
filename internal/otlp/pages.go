package otlp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pg-reliability/pg_reliability_exporter/internal/smallfile"
)

const (
	// mostBytes and mostLines of an exporter's answer are read; a page with the most samples that there may be by default has half of
	// both. They take many times their length in memory.
	mostBytes, mostLines = 24 << 20, 250_000
	// mostPages are sent at each interval: a fleet has at most as many targets.
	mostPages = 10000
)

// errNoFleet: the exporter watches none.
var errNoFleet = errors.New("the exporter watches no fleet")

// Exporter is where the pages are.
type Exporter struct {
	// URL is the exporter's, without a path of a page.
	URL *url.URL
	// MetricsPath is where its own page is, such as /metrics.
	MetricsPath string
	// Username and PasswordFile are for basic authentication; an empty name is none. The file is read for each page.
	Username, PasswordFile string
	// Client has the trusted certificates. It follows no redirect: the password is for the exporter alone.
	Client *http.Client
}

// page is one of the exporter's, with what tells it apart from the others.
type page struct {
	name   string
	labels map[string]string
	path   string
	query  url.Values
}

// pages are the exporter's own, and those of the servers that its configuration lists.
func (e *Exporter) pages(ctx context.Context) ([]page, error) {
	own := page{name: e.URL.Host, path: e.MetricsPath}
	body, err := e.ask(ctx, page{path: "/api/targets"})
	if errors.Is(err, errNoFleet) {
		return []page{own}, nil
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var groups []struct{ Labels map[string]string }
	if err := json.NewDecoder(body).Decode(&groups); err != nil {
		return nil, fmt.Errorf("read the list of targets of %s: %w", e.URL.Redacted(), err)
	}
	all := []page{own}
	for _, g := range groups[:min(len(groups), mostPages)] {
		p := page{name: g.Labels["instance"], labels: map[string]string{}, path: g.Labels["__metrics_path__"],
			query: url.Values{"target": {g.Labels["__param_target"]}}}
		for name, value := range g.Labels {
			if !strings.HasPrefix(name, "__") && name != "instance" {
				p.labels[name] = value
			}
		}
		all = append(all, p)
	}
	return all, nil
}

// read is a page's metrics.
func (e *Exporter) read(ctx context.Context, p page) ([]*dto.MetricFamily, error) {
	body, err := e.ask(ctx, p)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	byName, err := parser.TextToMetricFamilies(body)
	if err != nil {
		return nil, fmt.Errorf("read the page of %s: %w", p.name, err)
	}
	families := make([]*dto.MetricFamily, 0, len(byName))
	for _, f := range byName {
		families = append(families, f)
	}
	return families, nil
}

// ask gets a page in Prometheus' text format; it ends with an error where it is too long.
func (e *Exporter) ask(ctx context.Context, p page) (io.ReadCloser, error) {
	u := e.URL.JoinPath(p.path)
	u.RawQuery = p.query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", e.URL.Redacted(), err)
	}
	req.Header.Set("Accept", "text/plain;version=0.0.4")
	if deadline, ok := ctx.Deadline(); ok {
		req.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", seconds(deadline))
	}
	if e.Username != "" {
		password, err := smallfile.Read(e.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("--exporter.password-file: %w", err)
		}
		req.SetBasicAuth(e.Username, strings.TrimRight(string(password), "\r\n"))
	}
	resp, err := e.Client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the exporter: %w", err)
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return &bounded{ReadCloser: resp.Body}, nil
	case resp.StatusCode == http.StatusNotFound && p.path == "/api/targets":
		err = errNoFleet
	default:
		err = fmt.Errorf("the exporter answers %s with status %d. HINT: Compare --exporter.url, --exporter.metrics-path and "+
			"--exporter.username with its own flags", u.Redacted(), resp.StatusCode)
	}
	_ = resp.Body.Close()
	return nil, err
}

// bounded ends with an error where an answer is too long.
type bounded struct {
	io.ReadCloser
	bytes, lines int
}

// Read reads on.
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bytes += n
	b.lines += bytes.Count(p[:n], []byte{'\n'})
	switch {
	case b.bytes > mostBytes:
		return 0, fmt.Errorf("the answer is longer than %d MiB", mostBytes>>20)
	case b.lines > mostLines:
		return 0, fmt.Errorf("the answer has more than %d lines", mostLines)
	}
	return n, err
}
