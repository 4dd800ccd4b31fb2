package stack

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// Stack hands out what its processes share: a directory, free ports, our programs.
type Stack struct {
	Dir string
	// Root of the repository, absolute.
	Root string

	mu sync.Mutex // of building
}

// New makes a stack below a directory that the test removes. root is where the repository is.
func New(t testing.TB, root string) *Stack {
	t.Helper()
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	return &Stack{Dir: t.TempDir(), Root: root}
}

// ports of this process; all its tests share them.
var ports struct {
	sync.Mutex
	next int
}

// Port hands out each port once, from below those the kernel gives to clients: many programs start at once here, and
// one that finds another's port taken would look like the other.
func Port(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 {
		ports.next = 20000 + os.Getpid()%1000*10
	}
	for ; ports.next < 32000; ports.next++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ports.next))
		if err != nil {
			continue
		}
		_ = l.Close()
		ports.next++
		return ports.next - 1
	}
	t.Fatal("no port is free between 20000 and 32000")
	return 0
}

// Port is one nobody else in this process is given.
func (s *Stack) Port(t testing.TB) int {
	t.Helper()
	return Port(t)
}

// Address is one on this machine with a port of its own.
func (s *Stack) Address(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", s.Port(t))
}

// Program builds one of our own programs, once, and returns its path.
func (s *Stack) Program(t testing.TB, name string) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	path := filepath.Join(s.Dir, "bin", name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	cmd := exec.Command("go", "build", "-o", path, "./cmd/"+name)
	cmd.Dir = s.Root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

// Tool finds one of Prometheus' programs under the names distributions give it, or, with PROMETHEUS=3 in the environment,
// the one that install.sh prometheus3 builds. Missing ones fail the test: a skipped test proves nothing.
func Tool(t testing.TB, names ...string) string {
	t.Helper()
	if major := os.Getenv("PROMETHEUS"); major != "" && (names[0] == "prometheus" || names[0] == "promtool") {
		path, err := pgtest.Tool(names[0]+major, "prometheus"+major)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not installed. HINT: Run internal/pgtest/install.sh prometheus alertmanager", names[0])
	return ""
}

// Exporter runs pg_reliability_exporter on a server.
func (s *Stack) Exporter(t testing.TB, dsn string, args ...string) *Process {
	t.Helper()
	address := s.Address(t)
	path := s.Program(t, "pg_reliability_exporter")
	return Run(t, "exporter", "http://"+address, "/-/ready", func() *exec.Cmd {
		cmd := exec.Command(path, append([]string{"--web.listen-address=" + address}, args...)...)
		cmd.Env = append(os.Environ(), "DATA_SOURCE_NAME="+dsn)
		return cmd
	})
}

// Target is one page as Prometheus is told of it. Cluster and Instance may be empty.
type Target struct {
	Job, Address, Cluster, Instance string

	drop string // a regular expression of names
}

// Without leaves metrics whose names match out, of all targets of its job.
func (t Target) Without(names string) Target { t.drop = names; return t }

// TargetOf is where a process serves its metrics.
func TargetOf(p *Process, job, cluster, instance string) Target {
	return Target{Job: job, Address: strings.TrimPrefix(p.URL, "http://"), Cluster: cluster, Instance: instance}
}

// Prometheus runs Prometheus on rule files (a glob), an Alertmanager's address and targets, itself among them.
func (s *Stack) Prometheus(t testing.TB, interval time.Duration, rules, alertmanager string, targets []Target) *Process {
	t.Helper()
	address := s.Address(t)
	targets = append(targets, Target{Job: "prometheus", Address: address, Instance: "prometheus"})
	var b strings.Builder
	fmt.Fprintf(&b, "global: {scrape_interval: %[1]s, scrape_timeout: %[1]s, evaluation_interval: %[1]s}\n", interval)
	fmt.Fprintf(&b, "rule_files: [%q]\n", rules)
	fmt.Fprintf(&b, "alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}\nscrape_configs:\n", alertmanager)
	jobs := map[string]bool{}
	for _, job := range targets {
		if jobs[job.Job] {
			continue
		}
		jobs[job.Job] = true
		fmt.Fprintf(&b, "  - job_name: %s\n    static_configs:\n", job.Job)
		for _, one := range targets {
			if one.Job == job.Job {
				fmt.Fprintf(&b, "      - {targets: [%q], labels: {", one.Address)
				if one.Cluster != "" {
					fmt.Fprintf(&b, "cluster: %q, ", one.Cluster)
				}
				fmt.Fprintf(&b, "instance: %q}}\n", one.Instance)
			}
		}
		if job.drop != "" {
			fmt.Fprintf(&b, "    metric_relabel_configs: [{source_labels: [__name__], regex: %q, action: drop}]\n", job.drop)
		}
	}
	file := filepath.Join(s.Dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	path := Tool(t, "prometheus")
	return Run(t, "prometheus", "http://"+address, "/-/ready", func() *exec.Cmd {
		return exec.Command(path, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(s.Dir, "prometheus"), "--web.listen-address="+
			address)
	})
}

// Alertmanager runs Alertmanager on a configuration.
func (s *Stack) Alertmanager(t testing.TB, config string) *Process {
	t.Helper()
	address := s.Address(t)
	file := filepath.Join(s.Dir, "alertmanager.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	path := Tool(t, "prometheus-alertmanager", "alertmanager")
	return Run(t, "alertmanager", "http://"+address, "/-/ready", func() *exec.Cmd {
		return exec.Command(path, "--config.file="+file, "--storage.path="+filepath.Join(s.Dir, "alertmanager"),
			"--web.listen-address="+address, "--cluster.listen-address=")
	})
}
