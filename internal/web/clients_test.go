package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/internal/httpserver"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

const (
	serving = "PGR_TEST_SERVE" // set in the process of TestServesUntilItsInputEnds
	// largePage is of as many samples as one collector may have.
	largePage = 50_000
	// mostMemory is what a process with such a page needs for itself, and for the clients.
	mostMemory = 128 << 20
)

// TestServesUntilItsInputEnds is the server of the tests below, a process of its own, whose memory is no test's.
func TestServesUntilItsInputEnds(t *testing.T) {
	if os.Getenv(serving) == "" {
		t.Skip("is started by other tests")
	}
	var families []*dto.MetricFamily
	for f := range 100 {
		labels := make([]string, largePage/100)
		for i := range labels {
			labels[i] = "a_name_as_long_as_databases_have_" + strconv.Itoa(i)
		}
		families = append(families, family("pg_stat_something_"+strconv.Itoa(f), dto.MetricType_COUNTER, labels...))
	}
	registry := prometheus.NewRegistry()
	s, err := New(Options{
		Logger: log.NewNopLogger(),
		Listen: Listen{Addresses: []string{"127.0.0.1:0"}, MaxRequests: httpserver.DefaultMaxRequests,
			OnListen: func(a net.Addr) { fmt.Println("serving", a) }},
		Metrics: Metrics{Gatherer: registry,
			Engine: &engineStub{families: families, gather: func(context.Context) { time.Sleep(20 * time.Millisecond) }}},
		Prober: &proberAt{snapshot(postgres.OK, postgres.OK)},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); stop() }()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
}

// another starts that process, and returns its address and its process.
func another(t *testing.T) (string, *os.Process) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestServesUntilItsInputEnds$", "-test.v")
	cmd.Env = append(os.Environ(), serving+"=1")
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		input.Close()
		_, _ = io.Copy(io.Discard, output)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "serving "); ok {
			return address, cmd.Process
		}
	}
	t.Fatal("the server did not start")
	return "", nil
}

// mostResident is the most memory that a process has had (VmHWM), in bytes.
func mostResident(t *testing.T, p *os.Process) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid))
	if err != nil {
		t.Skip("the memory of a process is read from /proc")
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	var kilobytes int
	if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// 300 clients ask for a large page and never read it; beside them somebody scrapes. Without bounds it was 470 MB and 15 s.
func TestClientsThatNeverReadCostLittleAndHoldNobodyUp(t *testing.T) {
	address, process := another(t)
	for range 300 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		if _, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	client := &http.Client{Timeout: pgtest.Patience(time.Second), Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	scrape := func() (int, error) {
		resp, err := client.Get("http://" + address + "/metrics")
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		page, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode == 200 && !strings.Contains(string(page), "pg_stat_something_99") {
			err = fmt.Errorf("a page of %d bytes only", len(page))
		}
		return resp.StatusCode, err
	}
	// While the 300 come in, one may be turned away; who asks again in a second, as it is told, is not. On a loaded machine the
	// 300 come in for longer than one scrape.
	turnedAway := 0
	for range 20 {
		tries := 0
		pgtest.Eventually(t, time.Second, func() error {
			tries++
			status, err := scrape()
			if err == nil && status != 200 {
				err = fmt.Errorf("status %d", status)
			}
			return err
		})
		if tries > 1 {
			turnedAway++
		}
		time.Sleep(shareFor) // so that each is a page of its own
	}
	if turnedAway > 10 {
		t.Errorf("of the scrapes beside them %d were turned away", turnedAway)
	}
	if most := mostResident(t, process); most > pgtest.RaceFactor*mostMemory {
		t.Errorf("the server had %d MB, more than %d", most>>20, pgtest.RaceFactor*mostMemory>>20)
	} else {
		t.Logf("the server had %d MB at the most", most>>20)
	}
}
