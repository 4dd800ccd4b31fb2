package hostile_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/hostile"
)

const (
	// most is what the exporter may use for ten good targets and one that means ill. Compose gives it 128 MB.
	most = 64 << 20
	// mostWithSamples is that where the target has as many samples on its page as --collector.max-samples lets it have.
	mostWithSamples = 100 << 20
	good            = 10
	// during is how long each fault lasts at least, after it was met.
	during = 2 * time.Second
	table  = "../../../docs/hostile-servers.md"
)

// usually are the faults that are tried each time; PG_RELIABILITY_HOSTILE=all tries all of them and writes the table.
var usually = []string{
	"login: settings with ever new names", "login: an error of 200 MB", "login: 10 million rounds of SCRAM's hash",
	"query: rows without end", "query: settings with ever new names", "query: an error of 9 MB", "query: labels of 200 kB",
	"query: 40,000 rows for everything",
}

// One target of a fleet that means ill costs the others nothing: not their probes, and not the exporter's memory.
func TestAHostileTargetHurtsNoOther(t *testing.T) {
	columns, err := columnsOfCollectors()
	if err != nil {
		t.Fatal(err)
	}
	server := hostile.New(t, columns)
	e := launch(t, []*hostile.Server{server})
	all := os.Getenv("PG_RELIABILITY_HOSTILE") == "all"
	var rows []string
	faults := append([]hostile.Fault{{Name: "none: it behaves"}}, hostile.Faults()...)
	slices.SortStableFunc(faults, func(a, b hostile.Fault) int { return lastOfAll(a) - lastOfAll(b) })
	for _, f := range faults {
		if !all && f.Name != "none: it behaves" && !slices.Contains(usually, f.Name) {
			continue
		}
		t.Run(f.Name, func(t *testing.T) { rows = append(rows, e.suffer(t, server, f)) })
	}
	if all && !t.Failed() {
		writeTable(t, rows)
	}
}

// lastOfAll is 1 for the fault whose samples stay on the target's page for minutes, and in the memory of whatever comes after it.
func lastOfAll(f hostile.Fault) int {
	if f.Name == "query: 40,000 rows for everything" {
		return 1
	}
	return 0
}

// suffer lets the fault last for a while, and says what it did as a row of the table.
func (e *exporter) suffer(t *testing.T, server *hostile.Server, f hostile.Fault) string {
	t.Helper()
	before, started := e.goodPages(t), time.Now()
	logBefore := e.log.size()
	e.resetPeak(t)
	server.Be(f)
	if f.Login != nil || f.First != nil || f.Probe != nil || f.Query != nil {
		pgtest.Eventually(t, 30*time.Second, func() error {
			e.page(t, "hostile") // a query's fault is met by who scrapes
			if server.Met() == 0 {
				return errors.New("the fault was not met")
			}
			return nil
		})
	}
	largest := 0
	for end := time.Now().Add(during); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		largest = max(largest, len(e.page(t, "hostile")))
	}
	after, elapsed := e.goodPages(t), time.Since(started)
	peak := e.peak(t)
	limit := int64(most)
	if lastOfAll(f) == 1 {
		limit = mostWithSamples
	}
	if peak > limit {
		t.Errorf("the exporter used %d MB", peak>>20)
	}
	const pageLimit, lineLimit = 16 << 20, 4 << 10
	if largest > pageLimit {
		t.Errorf("a page has %d MB", largest>>20)
	}
	if grown, longest := e.log.since(logBefore); grown > 256<<10 || longest > lineLimit {
		t.Errorf("the log grew by %d kB, its longest line has %d bytes", grown>>10, longest)
	}
	worst := 0.0
	for i := range good {
		const reads = `pg_reliability_probe_total{probe="read",result="ok"}`
		made := sample(after[i].text, reads) - sample(before[i].text, reads)
		if due := elapsed.Seconds() - 2; made < due {
			t.Errorf("good-%d was read %v times in %.1f s", i, made, elapsed.Seconds())
		}
		for name, want := range map[string]float64{"pg_up": 1, `pg_reliability_up_reason{reason="ok"}`: 1} {
			if got := sample(after[i].text, name); got != want {
				t.Errorf("good-%d: %s = %v", i, name, got)
			}
		}
		if strings.Contains(after[i].text, "\npg_reliability_outages_total{reason=\"timeout\"} 1") {
			t.Errorf("good-%d is said to have been down", i)
		}
		const interval = 1
		late := float64(after[i].at.UnixMicro())/1e6 - sample(after[i].text, `pg_reliability_probe_timestamp_seconds{probe="read"}`) - interval
		worst = max(worst, late)
	}
	up := "?"
	page := e.page(t, "hostile")
	for line := range strings.Lines(page) {
		if reason, ok := strings.CutPrefix(line, `pg_reliability_up_reason{reason="`); ok && strings.HasSuffix(strings.TrimSpace(line), " 1") {
			up, _, _ = strings.Cut(reason, `"`)
		}
	}
	row := fmt.Sprintf("| %s | %d | %.0f | %s | %s |", f.Name, peak>>20, max(0, worst)*1000, up, strings.Join(collectorReasons(page), ", "))
	t.Log(row)
	return row
}

func collectorReasons(page string) []string {
	var out []string
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, "pg_reliability_collector_errors_total{") {
			continue
		}
		_, reason, _ := strings.Cut(line, `reason="`)
		reason, _, _ = strings.Cut(reason, `"`)
		if !slices.Contains(out, reason) {
			out = append(out, reason)
		}
	}
	slices.Sort(out)
	return out
}

func writeTable(t *testing.T, rows []string) {
	t.Helper()
	text, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(text), "| What it does |")
	if !ok {
		t.Fatalf("%s has no table", table)
	}
	body := "| What it does | Memory (MB) | Reads of others late by (ms) | Reason of the target | Reasons of its collectors |\n" +
		"|---|--:|--:|---|---|\n" + strings.Join(rows, "\n") + "\n"
	if err := os.WriteFile(table, []byte(head+body), 0o644); err != nil {
		t.Fatal(err)
	}
}

// columnsOfCollectors says which columns the answer to a collector's query must have.
func columnsOfCollectors() (func(sql string) []string, error) {
	defs, err := collector.Embedded()
	if err != nil {
		return nil, err
	}
	const version = 170002
	bySQL := map[string][]string{}
	for _, d := range defs {
		sql, ok := d.SQLFor(version)
		if !ok {
			continue
		}
		var names []string
		for _, m := range d.MetricsFor(version) {
			names = append(names, append([]string{m.Column, m.NameColumn, m.HelpColumn}, m.Labels...)...)
		}
		slices.Sort(names)
		bySQL[sql] = slices.DeleteFunc(slices.Compact(names), func(n string) bool { return n == "" })
	}
	return func(sql string) []string {
		if names, ok := bySQL[sql]; ok {
			return names
		}
		return []string{"v"}
	}, nil
}

// nameOf names a hostile target.
func nameOf(i int) string {
	if i == 0 {
		return "hostile"
	}
	return fmt.Sprintf("hostile-%d", i)
}

// exporter is a process of its own, so that its memory is its own.
type exporter struct {
	url string
	cmd *exec.Cmd
	log *logBuffer
}

// launch starts an exporter that watches good targets and these; environ is added to its environment.
func launch(t *testing.T, servers []*hostile.Server, environ ...string) *exporter {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "exporter")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../../cmd/pg_reliability_exporter")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the exporter: %v\n%s", err, out)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "auth_modules:\n  m: {user: %s, password: %s, sslmode: disable}\ntargets:\n", pgtest.Monitor, pgtest.Password)
	clusters := []*pgtest.Cluster{pgtest.New(t, pgtest.Options{}), pgtest.New(t, pgtest.Options{})}
	for i := range good {
		c, name := clusters[i%2], fmt.Sprintf("good_%d", i)
		if err := c.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "  - {name: good-%d, address: '127.0.0.1:%d/%s', auth_module: m}\n", i, c.Port, name)
	}
	for i, server := range servers {
		fmt.Fprintf(&b, "  - {name: %s, address: '127.0.0.1:%d/postgres', auth_module: m}\n", nameOf(i), server.Port())
	}
	file := filepath.Join(dir, "fleet.yml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	e := &exporter{url: fmt.Sprintf("http://127.0.0.1:%d", port), log: &logBuffer{}}
	e.cmd = exec.Command(binary, "--config.file="+file, "--state.dir=none", fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port))
	e.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, environ...)
	e.cmd.Stdout, e.cmd.Stderr = e.log, e.log
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- e.cmd.Wait() }()
	t.Cleanup(func() {
		select {
		case err := <-ended:
			t.Errorf("the exporter ended: %v", err)
		default:
			_ = e.cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("the exporter's log:\n%s", e.log.tail())
		}
	})
	pgtest.Eventually(t, 60*time.Second, func() error {
		for i := range good {
			page, err := e.get(t, fmt.Sprintf("good-%d", i))
			if err != nil {
				return err
			}
			if sample(page, "pg_up") != 1 {
				return fmt.Errorf("good-%d is not up yet", i)
			}
		}
		return nil
	})
	return e
}

func (e *exporter) get(t *testing.T, target string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+"/probe?target="+target, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", "2")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	return string(b), err
}

func (e *exporter) page(t *testing.T, target string) string {
	t.Helper()
	page, err := e.get(t, target)
	if err != nil {
		t.Fatalf("scrape %s: %v", target, err)
	}
	return page
}

type goodPage struct {
	text string
	at   time.Time
}

func (e *exporter) goodPages(t *testing.T) []goodPage {
	t.Helper()
	pages := make([]goodPage, good)
	for i := range pages {
		text := e.page(t, fmt.Sprintf("good-%d", i))
		pages[i] = goodPage{text, time.Now()}
	}
	return pages
}

// resetPeak makes the kernel forget the most memory the process has had.
func (e *exporter) resetPeak(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", e.cmd.Process.Pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// peak is the most memory the process has had since then.
func (e *exporter) peak(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// sample is one sample's value, -1 where it is absent.
func sample(page, name string) float64 {
	for line := range strings.Lines(page) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			if v, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil {
				return v
			}
		}
	}
	return -1
}

// logBuffer keeps a process's log.
type logBuffer struct {
	mu sync.Mutex
	b  []byte
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	return len(p), nil
}

func (l *logBuffer) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.b)
}

// since is how much has come since then, and the length of the longest line of that.
func (l *logBuffer) since(size int) (grown, longest int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(string(l.b[size:])) {
		longest = max(longest, len(line))
	}
	return len(l.b) - size, longest
}

func (l *logBuffer) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b[max(0, len(l.b)-16<<10):])
}
