package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

const (
	// patroniPatience is for what Patroni decides: its ttl, a loop or two, and a busy machine.
	patroniPatience = 90 * time.Second
	probeInterval   = time.Second
)

// node is one member of a Patroni cluster, with the exporter beside it.
type node struct {
	name, dir, config string
	port, api         int
	patroni           *exec.Cmd
	exporter          *running
}

// patroniCluster is etcd and two nodes.
type patroniCluster struct {
	dir   string
	nodes [2]*node
}

// A real Patroni with a real etcd, two nodes, an exporter beside each, and a real Prometheus with the shipped rules: a primary
// that is killed and one that is switched over are a promotion here and a demotion there, /primary and /replica follow within
// two probe intervals, and nobody hears of a split brain.
func TestPatroniFailoverAndSwitchover(t *testing.T) {
	if os.Getenv("PG_RELIABILITY_PATRONI") == "" {
		t.Skip("a test of a minute with Patroni and etcd: run it with make test-patroni")
	}
	c := startPatroni(t)
	a, b := c.nodes[0], c.nodes[1]
	for _, n := range c.nodes {
		n.exporter = launch(t, fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/postgres?sslmode=disable", pgtest.Monitor, pgtest.Password, n.port),
			"--probe.interval="+probeInterval.String(), "--state.dir="+filepath.Join(n.dir, "exporter"))
	}
	prometheus := startPrometheusWith(t, c.prometheus(t), nil)
	pgtest.Eventually(t, patroniPatience, func() error { return errors.Join(a.is(t, "primary"), b.is(t, "replica")) })
	wait(t, prometheus, `pgr:cluster:primaries{cluster="shop"}`, 1)
	wait(t, prometheus, `pgr:cluster:standbys{cluster="shop"}`, 1)

	// The primary's machine is lost: its Patroni and its server are killed.
	killed := time.Now()
	a.kill(t)
	b.follows(t, "primary", false)
	t.Logf("failover: /primary of the new one %s after the kill", time.Since(killed).Round(100*time.Millisecond))
	c.restarts(t, b, "promotion", 1)
	// It comes back, and finds another one in its place.
	a.start(t)
	a.follows(t, "replica", true)
	c.restarts(t, a, "demotion", 1)
	c.restarts(t, a, "restart", 1)

	switched := time.Now()
	c.switchover(t, b, a)
	a.follows(t, "primary", false)
	b.follows(t, "replica", true)
	t.Logf("switchover: both follow %s after the command", time.Since(switched).Round(100*time.Millisecond))
	c.restarts(t, a, "promotion", 1)
	c.restarts(t, b, "demotion", 1)
	for _, n := range c.nodes {
		c.restarts(t, n, "failover", 0)
		c.restarts(t, n, "promotion", 1)
		c.restarts(t, n, "demotion", 1)
	}

	// Longer than the alert waits, so that a split brain that is told of would be told.
	since := time.Now()
	pgtest.Eventually(t, patroniPatience, func() error {
		if time.Since(since) < 35*time.Second {
			return errors.New("waiting for the alert to have had its time")
		}
		return errors.Join(a.is(t, "primary"), b.is(t, "replica"))
	})
	wait(t, prometheus, `count_over_time(ALERTS{alertname="PostgresSplitBrain", alertstate="firing"}[10m]) or vector(0)`, 0)
	wait(t, prometheus, `pgr:cluster:primaries{cluster="shop"}`, 1)
	wait(t, prometheus, `count(ALERTS{alertname="PostgresFailover", cluster="shop"})`, 2)
}

func startPatroni(t *testing.T) *patroniCluster {
	t.Helper()
	for _, name := range []string{"patroni", "patronictl", "etcd"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%v. HINT: Run internal/pgtest/install.sh patroni", err)
		}
	}
	server, err := pgtest.Find(0)
	if err != nil {
		t.Fatal(err)
	}
	// Short, because of the unix sockets in it; the servers' user must get in.
	dir, err := os.MkdirTemp("/tmp", "pgpatroni-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	etcd := startEtcd(t, dir)
	example, err := os.ReadFile("../../deploy/patroni/patroni.yml")
	if err != nil {
		t.Fatal(err)
	}
	c := &patroniCluster{dir: dir}
	for i := range c.nodes {
		n := &node{name: fmt.Sprintf("shop-%d", i+1), port: freePort(t), api: freePort(t)}
		n.dir = filepath.Join(dir, n.name)
		n.config = filepath.Join(n.dir, "patroni.yml")
		if err := errors.Join(os.Mkdir(n.dir, 0o777), os.Chmod(n.dir, 0o777)); err != nil {
			t.Fatal(err)
		}
		// The example, with this machine's addresses and a shorter ttl.
		text := string(example)
		for _, change := range [][2]string{
			{"name: shop-1", "name: " + n.name}, {"node1:8008", fmt.Sprintf("127.0.0.1:%d", n.api)},
			{"node1:5432", fmt.Sprintf("127.0.0.1:%d", n.port)}, {"etcd1:2379", etcd},
			{"/usr/lib/postgresql/15/bin", server.BinDir}, {"/var/run/postgresql", n.dir},
			{"/var/lib/postgresql/.pgpass-patroni", filepath.Join(n.dir, "pgpass")}, {"/var/lib/postgresql/shop", filepath.Join(n.dir, "data")},
			{"ttl: 30", "ttl: 20"}, {"loop_wait: 10", "loop_wait: 2"}, {"retry_timeout: 10", "retry_timeout: 5"},
		} {
			if !strings.Contains(text, change[0]) {
				t.Fatalf("patroni.yml has no %q", change[0])
			}
			text = strings.ReplaceAll(text, change[0], change[1])
		}
		if err := os.WriteFile(n.config, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		c.nodes[i] = n
		t.Cleanup(func() {
			if t.Failed() {
				log, _ := os.ReadFile(filepath.Join(n.dir, "patroni.log"))
				t.Logf("%s:\n%s", n.name, log[max(0, len(log)-3000):])
			}
			n.kill(t)
		})
	}
	c.nodes[0].start(t)
	pgtest.Eventually(t, patroniPatience, func() error { return c.nodes[0].exec("SELECT pg_is_in_recovery()", "f") })
	if err := c.nodes[0].exec(fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s' IN ROLE pg_monitor", pgtest.Monitor, pgtest.Password),
		""); err != nil {
		t.Fatal(err)
	}
	c.nodes[1].start(t)
	pgtest.Eventually(t, patroniPatience, func() error {
		return c.nodes[0].exec("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1")
	})
	return c
}

func startEtcd(t *testing.T, dir string) (address string) {
	t.Helper()
	address, peer := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	log, err := os.Create(filepath.Join(dir, "etcd.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := pgtest.Command("etcd", "--name=one", "--data-dir="+filepath.Join(dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls=http://"+address, "--advertise-client-urls=http://"+address,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=one="+peer)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	pgtest.Eventually(t, time.Minute, func() error {
		resp, err := http.Get("http://" + address + "/health")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	})
	return address
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// start runs Patroni, which runs the server.
func (n *node) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(n.dir, "patroni.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	n.patroni = pgtest.Command("patroni", n.config)
	n.patroni.Stdout, n.patroni.Stderr = log, log
	if err := n.patroni.Start(); err != nil {
		t.Fatal(err)
	}
}

// kill is the loss of the machine: Patroni first, so that it can't start the server again.
func (n *node) kill(t *testing.T) {
	t.Helper()
	if n.patroni == nil {
		return
	}
	_ = n.patroni.Process.Kill()
	_ = n.patroni.Wait()
	n.patroni = nil
	b, err := os.ReadFile(filepath.Join(n.dir, "data", "postmaster.pid"))
	if err != nil {
		return
	}
	line, _, _ := strings.Cut(string(b), "\n")
	postmaster, err := strconv.Atoi(line)
	if err != nil {
		t.Fatalf("postmaster.pid of %s begins with %q", n.name, line)
	}
	_ = syscall.Kill(postmaster, syscall.SIGKILL) // its children end by themselves
	pgtest.Eventually(t, 30*time.Second, func() error {
		if syscall.Kill(postmaster, 0) == nil {
			return errors.New("the killed server is still there")
		}
		return nil
	})
}

// exec runs a statement as the superuser, and compares its first value.
func (n *node) exec(sql, want string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", n.dir, n.port))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return err
	}
	if want != "" && (len(results[0].Rows) != 1 || string(results[0].Rows[0][0]) != want) {
		return fmt.Errorf("%s: %q, want %q", sql, results[0].Rows, want)
	}
	return nil
}

// is whether the exporter beside the node says that the node has a role.
func (n *node) is(t *testing.T, role string) error {
	t.Helper()
	for _, path := range []string{"primary", "replica"} {
		want := http.StatusServiceUnavailable
		if path == role {
			want = http.StatusOK
		}
		status, body, err := n.exporter.get(t, "/"+path)
		if err != nil {
			return err
		}
		if status != want {
			return fmt.Errorf("/%s of %s: %d, want %d: %s", path, n.name, status, want, body)
		}
	}
	return nil
}

// follows waits for the server to have a role, and then two probe intervals for the exporter to say so.
func (n *node) follows(t *testing.T, role string, inRecovery bool) {
	t.Helper()
	pgtest.Eventually(t, patroniPatience, func() error {
		return n.exec("SELECT pg_is_in_recovery()", strconv.FormatBool(inRecovery)[:1])
	})
	since := time.Now()
	var took time.Duration
	pgtest.Eventually(t, 20*time.Second, func() error {
		err := n.is(t, role)
		took = time.Since(since)
		return err
	})
	t.Logf("%s: /%s follows the server in %s", n.name, role, took.Round(10*time.Millisecond))
	if took > 2*probeInterval {
		t.Errorf("/%s of %s followed after %s, more than two probe intervals", role, n.name, took)
	}
}

func (c *patroniCluster) restarts(t *testing.T, n *node, kind string, want float64) {
	t.Helper()
	pgtest.Eventually(t, patience, func() error {
		return n.exporter.scrape(t).is(fmt.Sprintf("pg_reliability_restarts_total{kind=%q}", kind), want)
	})
}

func (c *patroniCluster) switchover(t *testing.T, from, to *node) {
	t.Helper()
	pgtest.Eventually(t, patroniPatience, func() error {
		out, err := pgtest.Command("patronictl", "-c", to.config, "switchover", "--master", from.name, "--candidate", to.name, "--force", "shop").
			CombinedOutput()
		if err != nil {
			return fmt.Errorf("patronictl switchover: %w: %s", err, out)
		}
		if !strings.Contains(string(out), "Successfully switched over") {
			return fmt.Errorf("patronictl switchover: %s", out)
		}
		return nil
	})
}

func (c *patroniCluster) prometheus(t *testing.T) string {
	t.Helper()
	rules, err := filepath.Abs("../../alerts/availability.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s}\nrule_files: [%q]\nscrape_configs:\n  - job_name: postgresql\n   "+
		" static_configs:\n"+
		"      - {targets: [%q, %q], labels: {cluster: shop}}\n", rules,
		strings.TrimPrefix(c.nodes[0].exporter.url, "http://"), strings.TrimPrefix(c.nodes[1].exporter.url, "http://"))
}
