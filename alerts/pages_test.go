package alerts_test

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/pages"
)

// needsEngine is what a page shows only beside a container engine, which not every machine that runs the tests has.
// Its names are checked against the catalogue, which is generated from the code.
var needsEngine = regexp.MustCompile(`^pg_reliability_container_|kind="container"`)

var shared = sync.OnceValue(func() *sharedPages { return &sharedPages{} })

// sharedPages are made once for all tests that ask.
type sharedPages struct {
	sync.Mutex
	programs, all *pages.Pages // nil before they are made
}

// programPages are those of Prometheus, Alertmanager and the backup job.
func programPages(t *testing.T) *pages.Pages {
	t.Helper()
	s := shared()
	s.Lock()
	defer s.Unlock()
	if s.programs == nil {
		p := pages.New()
		p.Programs(t, house)
		p.Backups(t, house)
		s.programs = p
	}
	return s.programs
}

// realPages are all, of the one version that most tests take.
func realPages(t *testing.T) *pages.Pages {
	t.Helper()
	p := programPages(t)
	s := shared()
	s.Lock()
	defer s.Unlock()
	if s.all == nil {
		all := p.Clone()
		all.Servers(t, house, pgtest.New(t, pages.Server()))
		s.all = all
	}
	return s.all
}

func lookup(t *testing.T, p *pages.Pages) *pages.Lookup {
	t.Helper()
	_, _, rules := shipped(t)
	l, err := pages.NewLookup(p, rules)
	if err != nil {
		t.Fatal(err)
	}
	l.Exotic = needsEngine
	return l
}

// target is one exporter as Prometheus is told of it.
type target struct{ address, cluster, instance string }

// prometheusConfig scrapes what a user's does: the exporters, Prometheus itself and Alertmanager.
func prometheusConfig(prom, am, rules string, targets []target, interval time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "global: {scrape_interval: %[1]s, scrape_timeout: %[1]s, evaluation_interval: %[1]s}\n", min(interval, 10*time.Second))
	if interval > 10*time.Second {
		b.Reset()
		fmt.Fprintf(&b, "global: {scrape_interval: %s, scrape_timeout: 10s, evaluation_interval: %s}\n", interval, interval)
	}
	fmt.Fprintf(&b, "rule_files: [%q]\n", rules)
	fmt.Fprintf(&b, "alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}\n", am)
	fmt.Fprintf(&b, "scrape_configs:\n")
	fmt.Fprintf(&b, "  - {job_name: prometheus, static_configs: [{targets: [%q], labels: {instance: prometheus}}]}\n", prom)
	fmt.Fprintf(&b, "  - {job_name: alertmanager, static_configs: [{targets: [%q], labels: {instance: alertmanager}}]}\n", am)
	fmt.Fprintf(&b, "  - job_name: postgres\n    static_configs:\n")
	if len(targets) == 0 {
		fmt.Fprintf(&b, "      []\n")
	}
	for _, t := range targets {
		fmt.Fprintf(&b, "      - {targets: [%q], labels: {cluster: %q, instance: %q}}\n", t.address, t.cluster, t.instance)
	}
	return b.String()
}
