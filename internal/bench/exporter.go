package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

const (
	// pause between scrapes: longer than the time in which ours lets scrapes share a collection.
	pause = 200 * time.Millisecond
	// atInterval is how often Prometheus scrapes in the minutes that are measured with scrapes.
	atInterval = 15 * time.Second
	// accept is what Prometheus asks for.
	accept = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)

// exporter is one of those that are compared, and what was measured of it: one figure a round, or a scrape.
type exporter struct {
	name    string
	command []string
	part    bool // it is one of ours with something switched off

	server *pgtest.Cluster // its own
	before time.Duration   // the server's CPU before the exporter began
	pid    int
	url    string
	stop   func()

	wall                        []time.Duration // of each scrape
	firstServerCPU, firstOwnCPU []time.Duration // from the start until it is watched: all that it does once, or seldom, is in it
	serverCPU, ownCPU           []time.Duration // a scrape
	idleServerCPU, idleOwnCPU   []time.Duration // a minute without a scrape
	fullServerCPU, fullOwnCPU   []time.Duration // a minute with a scrape each 15 s
	resident                    []int64         // bytes
	samples, connections        int
}

// plan is how long each round is.
type plan struct {
	rounds, scrapes int
	// minute is how long the exporters are watched idle, and scraped each 15 s. It is a minute, or scaled to one.
	minute time.Duration
	// calm is how long they are left alone before they are watched.
	calm time.Duration
	// patience is how long the first round waits for the machine to do nothing else.
	patience time.Duration
}

// perMinute scales what a minute of the plan took.
func (p plan) perMinute(d time.Duration) time.Duration {
	return time.Duration(float64(d) * time.Minute.Seconds() / p.minute.Seconds())
}

// begin fills a server for the exporter, starts it, and waits until it is complete.
func (e *exporter) begin(ctx context.Context, databases, tables int) (err error) {
	if e.server, err = server(ctx, databases, tables); err != nil {
		return err
	}
	e.before = treeCPU(e.server.PID())
	e.pid, e.url, e.stop, err = e.start(ctx, e.server)
	return err
}

// end stops the exporter and its server.
func (e *exporter) end() {
	if e.stop != nil {
		e.stop()
	}
	if e.server != nil {
		_ = e.server.Close()
	}
}

// first notes what was used up to now.
func (e *exporter) first() {
	e.firstServerCPU = append(e.firstServerCPU, treeCPU(e.server.PID())-e.before)
	e.firstOwnCPU = append(e.firstOwnCPU, processCPU(e.pid))
}

// idleMinute watches the exporter without a scrape.
func (e *exporter) idleMinute(ctx context.Context, p plan) error {
	server, own, err := e.watch(func() error { return wait(ctx, p.minute) })
	e.idleServerCPU, e.idleOwnCPU = append(e.idleServerCPU, p.perMinute(server)), append(e.idleOwnCPU, p.perMinute(own))
	return err
}

// fullMinute watches it while it is scraped as often as Prometheus does.
func (e *exporter) fullMinute(ctx context.Context, p plan) error {
	server, own, err := e.watch(func() error { return e.scrapeEach(ctx, atInterval, int(p.minute/atInterval)) })
	e.fullServerCPU, e.fullOwnCPU = append(e.fullServerCPU, p.perMinute(server)), append(e.fullOwnCPU, p.perMinute(own))
	return err
}

// scrapes measures what a scrape costs, in a row of them.
func (e *exporter) scrapes(ctx context.Context, p plan) error {
	connectionsBefore, began := connections(e.server), time.Now()
	server, own, err := e.watch(func() error { return e.scrapeEach(ctx, pause, p.scrapes) })
	if err != nil {
		return err
	}
	e.connections = connections(e.server) - connectionsBefore
	// What it does without scrapes goes on during them; a scrape costs what comes on top.
	share := time.Since(began).Minutes()
	onTop := func(total, idle time.Duration) time.Duration {
		return (total - time.Duration(float64(idle)*share)) / time.Duration(p.scrapes)
	}
	e.serverCPU = append(e.serverCPU, onTop(server, median(e.idleServerCPU)))
	e.ownCPU = append(e.ownCPU, onTop(own, median(e.idleOwnCPU)))
	rss, err := residentBytes(e.pid)
	e.resident = append(e.resident, rss)
	return err
}

// sideBySide has all exporters do the same at the same time, so that what else the machine does disturbs all alike; each begins a share
// of the interval after the one before, so that they do not disturb each other.
func sideBySide(ctx context.Context, exporters []*exporter, do func(*exporter) error) error {
	errs := make([]error, len(exporters))
	var all sync.WaitGroup
	for i, e := range exporters {
		all.Go(func() {
			if errs[i] = wait(ctx, atInterval/time.Duration(len(exporters))*time.Duration(i)); errs[i] == nil {
				errs[i] = do(e)
			}
			if errs[i] != nil {
				errs[i] = fmt.Errorf("%s: %w", e.name, errs[i])
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// start starts the exporter, and returns when it is complete.
func (e *exporter) start(ctx context.Context, c *pgtest.Cluster) (pid int, url string, stop func(), err error) {
	port, err := pgtest.FreePort()
	if err != nil {
		return 0, "", nil, err
	}
	cmd := exec.CommandContext(ctx, e.command[0], append(e.command[1:], fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port))...)
	cmd.Env = append(os.Environ(), "DATA_SOURCE_NAME="+c.MonitorDSN())
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		return 0, "", nil, err
	}
	stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	url = fmt.Sprintf("http://127.0.0.1:%d/metrics", port)
	if err := e.warmUp(ctx, url); err != nil {
		stop()
		return 0, "", nil, fmt.Errorf("%w: %s", err, log.String())
	}
	return cmd.Process.Pid, url, stop, nil
}

// scrapeEach scrapes n times, and waits after each.
func (e *exporter) scrapeEach(ctx context.Context, interval time.Duration, n int) error {
	for range n {
		took, body, err := scrape(ctx, e.url)
		if err != nil {
			return err
		}
		if interval == pause {
			e.wall = append(e.wall, took)
		}
		e.samples = samplesIn(body)
		if err := wait(ctx, interval); err != nil {
			return err
		}
	}
	return nil
}

// warmUp waits until the exporter is complete: its caches are filled and its connections are open.
func (e *exporter) warmUp(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	for last := -1; ; {
		_, body, err := scrape(ctx, url)
		now := samplesIn(body)
		complete := strings.Contains(body, "\npg_up 1") && (e.part || strings.Contains(body, "pg_database_size_bytes{"))
		if err == nil && now == last && (complete || e.bare()) {
			return nil
		}
		last = now
		if wait(ctx, 500*time.Millisecond) != nil {
			return fmt.Errorf("it has no data after %s: %w", settle, err)
		}
	}
}

// watch is the CPU time that the server and the exporter spend while f runs.
func (e *exporter) watch(f func() error) (server, own time.Duration, err error) {
	server0, own0 := treeCPU(e.server.PID()), processCPU(e.pid)
	if err := f(); err != nil {
		return 0, 0, err
	}
	return treeCPU(e.server.PID()) - server0, processCPU(e.pid) - own0, nil
}

func (e *exporter) last() string {
	recent := e.wall[max(0, len(e.wall)-10):]
	at := len(e.ownCPU) - 1
	ms := func(d time.Duration) string { return fmt.Sprintf("%.2f", milliseconds(d)) }
	return fmt.Sprintf("%s: a scrape %s ms, CPU %s ms and the server's %s; a minute idle %s and %s, scraped %s and %s; "+
		"%d samples",
		e.name, ms(median(recent)), ms(e.ownCPU[at]), ms(e.serverCPU[at]), ms(e.idleOwnCPU[at]), ms(e.idleServerCPU[at]),
		ms(e.fullOwnCPU[at]), ms(e.fullServerCPU[at]), e.samples)
}

// bare says whether it only serves a page that was saved.
func (e *exporter) bare() bool { return e.name == floorName }

func scrape(ctx context.Context, url string) (time.Duration, string, error) {
	return scrapeAs(ctx, url, accept)
}

func scrapeAs(ctx context.Context, url, accept string) (time.Duration, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Accept", accept)
	start := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	took := time.Since(start)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("HTTP status %s", resp.Status)
	}
	return took, string(body), err
}

func samplesIn(page string) int {
	n := 0
	for line := range strings.Lines(page) {
		if line != "\n" && !strings.HasPrefix(line, "#") {
			n++
		}
	}
	return n
}

// connections counts the logins in the server's log.
func connections(c *pgtest.Cluster) int {
	return strings.Count(c.Log(), "connection authorized: user="+pgtest.Monitor)
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func median[T ~int64](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
