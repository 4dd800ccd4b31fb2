package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

const (
	// pause between scrapes: longer than the time in which ours lets scrapes share a collection.
	pause = 200 * time.Millisecond
	// idleTime is how long the exporter is watched without a scrape, for what it costs by itself.
	idleTime = 10 * time.Second
)

// exporter is one of the two, and what was measured of it.
type exporter struct {
	name    string
	command []string

	wall                      []time.Duration // of each scrape
	serverCPU, ownCPU         []time.Duration // a scrape, one figure a round
	idleServerCPU, idleOwnCPU []time.Duration // a second without a scrape, one figure a round
	resident                  []int64         // bytes, one figure a round
	samples, connections      int
}

// measure starts the exporter, scrapes it, and stops it: the other one must not disturb.
func (e *exporter) measure(ctx context.Context, c *pgtest.Cluster, scrapes int) error {
	port, err := pgtest.FreePort()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, e.command[0], append(e.command[1:], fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port))...)
	cmd.Env = append(os.Environ(), "DATA_SOURCE_NAME="+c.MonitorDSN())
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	url := fmt.Sprintf("http://127.0.0.1:%d/metrics", port)
	if err := e.warmUp(ctx, url); err != nil {
		return fmt.Errorf("%w: %s", err, log.String())
	}

	idleServer, idleOwn, err := e.watch(c, cmd.Process.Pid, func() error { return wait(ctx, idleTime) })
	if err != nil {
		return err
	}
	perSecond := func(d time.Duration) time.Duration { return d / (idleTime / time.Second) }
	e.idleServerCPU, e.idleOwnCPU = append(e.idleServerCPU, perSecond(idleServer)), append(e.idleOwnCPU, perSecond(idleOwn))

	connectionsBefore := connections(c)
	began := time.Now()
	server, own, err := e.watch(c, cmd.Process.Pid, func() error {
		for range scrapes {
			took, body, err := scrape(ctx, url)
			if err != nil {
				return err
			}
			e.wall, e.samples = append(e.wall, took), samplesIn(body)
			if err := wait(ctx, pause); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	e.connections = connections(c) - connectionsBefore
	// What it does without scrapes goes on during them; a scrape costs what comes on top.
	seconds := time.Since(began).Seconds()
	onTop := func(total, idle time.Duration) time.Duration {
		return max(0, total-time.Duration(float64(perSecond(idle))*seconds)) / time.Duration(scrapes)
	}
	e.serverCPU, e.ownCPU = append(e.serverCPU, onTop(server, idleServer)), append(e.ownCPU, onTop(own, idleOwn))
	rss, err := residentBytes(cmd.Process.Pid)
	e.resident = append(e.resident, rss)
	return err
}

// warmUp waits until the exporter is complete: its caches are filled and its connections are open.
func (e *exporter) warmUp(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	for last := -1; ; {
		_, body, err := scrape(ctx, url)
		now := samplesIn(body)
		if err == nil && now == last && strings.Contains(body, "\npg_up 1") && strings.Contains(body, "pg_database_size_bytes{") {
			return nil
		}
		last = now
		if wait(ctx, 500*time.Millisecond) != nil {
			return fmt.Errorf("it has no data after %s: %w", settle, err)
		}
	}
}

// watch is the CPU time that the server and the exporter spend while f runs.
func (e *exporter) watch(c *pgtest.Cluster, pid int, f func() error) (server, own time.Duration, err error) {
	server0, own0 := treeCPU(c.PID()), processCPU(pid)
	if err := f(); err != nil {
		return 0, 0, err
	}
	return treeCPU(c.PID()) - server0, processCPU(pid) - own0, nil
}

func (e *exporter) last() string {
	recent := e.wall[max(0, len(e.wall)-10):]
	return fmt.Sprintf("%s: wall %s, server CPU %s, own CPU %s, %d samples, %d connections", e.name, median(recent).Round(10*time.Microsecond),
		e.serverCPU[len(e.serverCPU)-1].Round(10*time.Microsecond), e.ownCPU[len(e.ownCPU)-1].Round(10*time.Microsecond), e.samples, e.connections)
}

func scrape(ctx context.Context, url string) (time.Duration, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
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
