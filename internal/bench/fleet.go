package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

const (
	fleetServers   = 5
	fleetDatabases = 3
	fleetTables    = 50
	fleetInterval  = 15 * time.Second
	// warmUpTime is enough for each target's caches, whose longest interval is five minutes but which are filled at once.
	warmUpTime = 45 * time.Second
	// storedTargets are scraped each second into a real Prometheus, as often as in an hour at 15 s.
	storedTargets = 10
	storedScrapes = 240
)

// measureFleet prints what many targets cost one exporter, and a Prometheus that scrapes it. Targets are a few real servers
// under many addresses: each has connections, a prober and caches of its own.
func measureFleet(ctx context.Context, ours string, sizes []int) error {
	var servers []*pgtest.Cluster
	defer func() {
		for _, c := range servers {
			_ = c.Close()
		}
	}()
	for range fleetServers {
		c, err := pgtest.Start(ctx,
			pgtest.Options{Settings: map[string]string{"listen_addresses": "'0.0.0.0'", "max_connections": "300", "autovacuum": "off"}})
		if err != nil {
			return err
		}
		servers = append(servers, c)
		if err := errors.Join(c.WriteHBA("local all all trust\nhost all all 127.0.0.0/8 trust\n"), c.Reload(),
			fill(ctx, c, fleetDatabases, fleetTables)); err != nil {
			return err
		}
	}
	if len(sizes) == 0 {
		return store(ctx, ours, servers)
	}
	fmt.Printf("\n| targets | exporter RSS | a target more | exporter CPU per minute | samples per target | a scrape, median | 99 %% | " +
		"connections per target |\n|---|---|---|---|---|---|---|---|\n")
	var first int64
	for i, n := range sizes {
		m, err := fleetOf(ctx, ours, servers, n)
		if err != nil {
			return err
		}
		more := ""
		if i == 0 {
			first = m.resident
		} else {
			more = fmt.Sprintf("%.2f MB", megabytes(m.resident-first)/float64(n-sizes[0]))
		}
		if m.down > 0 {
			fmt.Fprintf(os.Stderr, "bench: %d of the next line's pages said that a server is down: is the machine too busy?\n", m.down)
		}
		fmt.Printf("| %d | %.0f MB | %s | %.1f s | %d | %.1f ms | %.1f ms | %.1f |\n", n, megabytes(m.resident), more, m.cpu.Seconds(), m.samples,
			milliseconds(m.median), milliseconds(m.slowest), m.connections)
	}
	return store(ctx, ours, servers)
}

type fleetMeasure struct {
	resident        int64
	cpu             time.Duration // a minute
	samples         int
	median, slowest time.Duration
	connections     float64
	down            int // pages that said a server is down: this machine is too busy then
}

// fleetOf watches n targets, scrapes each every 15 s, and measures a minute.
func fleetOf(ctx context.Context, ours string, servers []*pgtest.Cluster, n int) (fleetMeasure, error) {
	x, err := startFleet(ctx, ours, servers, n)
	if err != nil {
		return fleetMeasure{}, err
	}
	defer x.stop()
	if _, _, err := x.scrapeFor(ctx, n, warmUpTime); err != nil {
		return fleetMeasure{}, err
	}
	before := processCPU(x.cmd.Process.Pid)
	times, down, err := x.scrapeFor(ctx, n, time.Minute)
	if err != nil {
		return fleetMeasure{}, err
	}
	m := fleetMeasure{cpu: processCPU(x.cmd.Process.Pid) - before, median: quantile(times, 0.5), slowest: quantile(times, 0.99), down: down}
	if m.resident, err = residentBytes(x.cmd.Process.Pid); err != nil {
		return m, err
	}
	_, body, err := scrape(ctx, x.url+"/probe?target=t0")
	m.samples = samplesIn(body)
	for _, c := range servers {
		count, _ := c.Query(ctx, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_reliability_exporter'")
		open, _ := strconv.ParseFloat(count, 64)
		m.connections += open / float64(n)
	}
	return m, err
}

type fleetExporter struct {
	cmd *exec.Cmd
	url string
	dir string
}

func startFleet(ctx context.Context, ours string, servers []*pgtest.Cluster, n int) (*fleetExporter, error) {
	dir, err := os.MkdirTemp("", "fleet-")
	if err != nil {
		return nil, err
	}
	var config strings.Builder
	fmt.Fprintf(&config, "auth_modules: {m: {user: %s, sslmode: disable}}\nmax_targets: %d\ntargets:\n", pgtest.Monitor, n)
	for i := range n {
		fmt.Fprintf(&config, "  - {name: t%d, address: '127.0.%d.%d:%d', auth_module: m, labels: {cluster: c%d}}\n", i, i/200, 1+i%200,
			servers[i%len(servers)].Port, i)
	}
	file := filepath.Join(dir, "fleet.yml")
	port, err := pgtest.FreePort()
	if err := errors.Join(err, os.WriteFile(file, []byte(config.String()), 0o600)); err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	x := &fleetExporter{url: "http://" + address, dir: dir}
	x.cmd = exec.CommandContext(ctx, ours, "--config.file="+file, "--state.dir="+filepath.Join(dir, "state"), "--web.listen-address="+address)
	x.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	var log bytes.Buffer
	x.cmd.Stderr = &log
	if err := x.cmd.Start(); err != nil {
		return nil, err
	}
	for until := time.Now().Add(settle); ; {
		if _, _, err := scrape(ctx, x.url+"/-/ready"); err == nil {
			return x, nil
		}
		if wait(ctx, 100*time.Millisecond) != nil || time.Now().After(until) {
			x.stop()
			return nil, fmt.Errorf("the exporter does not start: %s", log.String())
		}
	}
}

func (x *fleetExporter) stop() {
	_ = x.cmd.Process.Kill()
	_ = x.cmd.Wait()
	_ = os.RemoveAll(x.dir)
}

// scrapeFor scrapes each of n targets every 15 s, spread as Prometheus spreads them, and says how long each page took.
func (x *fleetExporter) scrapeFor(ctx context.Context, n int, d time.Duration) (times []time.Duration, down int, err error) {
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	end := time.Now().Add(d)
	for i := range n {
		all.Go(func() {
			_ = wait(ctx, fleetInterval/time.Duration(n)*time.Duration(i))
			for time.Now().Before(end) {
				took, body, err := scrape(ctx, fmt.Sprintf("%s/probe?target=t%d", x.url, i))
				mu.Lock()
				if !strings.Contains(body, "\npg_up 1") {
					down++
				}
				times, errs = append(times, took), append(errs, err)
				mu.Unlock()
				_ = wait(ctx, fleetInterval)
			}
		})
	}
	all.Wait()
	return times, down, errors.Join(errs...)
}

// store lets a real Prometheus keep what it scrapes, and measures what a series costs in its memory and a sample on disk.
func store(ctx context.Context, ours string, servers []*pgtest.Cluster) error {
	x, err := startFleet(ctx, ours, servers, storedTargets)
	if err != nil {
		return err
	}
	defer x.stop()
	port, err := pgtest.FreePort()
	if err != nil {
		return err
	}
	config := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n  - job_name: postgresql\n    "+
		"http_sd_configs: [{url: '%s/api/targets'}]\n", x.url)
	file, data := filepath.Join(x.dir, "prometheus.yml"), filepath.Join(x.dir, "data")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	prometheus := exec.CommandContext(ctx, "prometheus", "--config.file="+file, "--storage.tsdb.path="+data, "--web.enable-admin-api",
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port))
	if err := prometheus.Start(); err != nil {
		return err
	}
	defer func() { _ = prometheus.Process.Kill(); _ = prometheus.Wait() }()
	at := fmt.Sprintf("http://127.0.0.1:%d", port)
	if err := wait(ctx, 15*time.Second); err != nil {
		return err
	}
	empty, err := residentBytes(prometheus.Process.Pid)
	if err != nil {
		return err
	}
	if err := wait(ctx, storedScrapes*time.Second); err != nil {
		return err
	}
	resident, err := residentBytes(prometheus.Process.Pid)
	if err != nil {
		return err
	}
	_, page, err := scrape(ctx, at+"/metrics")
	if err != nil {
		return err
	}
	series, samples := sampleOf(page, "prometheus_tsdb_head_series"), sampleOf(page, "prometheus_tsdb_head_samples_appended_total")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at+"/api/v1/admin/tsdb/snapshot", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	var disk int64
	err = filepath.Walk(filepath.Join(data, "snapshots"), func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			disk += info.Size()
		}
		return err
	})
	fmt.Printf("\nPrometheus: %d targets, %.0f series, %.0f samples; %.0f MB resident (%.0f MB after 15 s): %.1f kB a series; "+
		"a block of %.1f MB: %.2f bytes a sample\n", storedTargets, series, samples, megabytes(resident), megabytes(empty),
		float64(resident)/series/1e3, megabytes(disk), float64(disk)/samples)
	return err
}

// sampleOf is a sample of a metrics page, with or without labels.
func sampleOf(page, name string) float64 {
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == ' ' || rest[0] == '{') {
			v, _ := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' ')+1:]), 64)
			return v
		}
	}
	return 0
}

func quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
