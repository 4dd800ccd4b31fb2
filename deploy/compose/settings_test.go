//go:build linux

package compose_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// .env.example lists each variable of the compose files, and none that is gone.
func TestEnvExampleListsEverySetting(t *testing.T) {
	files, err := filepath.Glob("*.yml")
	if err != nil {
		t.Fatal(err)
	}
	find := func(pattern, file string) (names []string) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
		return names
	}
	// Both are Compose's own.
	read := []string{"COMPOSE_FILE", "COMPOSE_PROJECT_NAME"}
	for _, f := range append(files, "../../docker-compose.yml") {
		read = append(read, find(`\$\{([A-Z_]+)`, f)...)
	}
	listed := find(`(?m)^#([A-Z_]+)=`, "../../.env.example")
	for _, list := range []*[]string{&read, &listed} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if !slices.Equal(read, listed) {
		t.Errorf("the compose files read\n%v\nand .env.example lists\n%v", read, listed)
	}
}

// hostAddress is one that the host has in the network outside.
const hostAddress = "192.0.2.1"

// settings changes what .env.example offers, in a .env, with receivers of alerts and Prometheus published.
func settings(t *testing.T, s *stack) {
	if out, err := output(nsenter(s.engine, "ip", "address", "replace", hostAddress+"/32", "dev", "lo")); err != nil {
		t.Fatalf("give the host an address: %v: %s", err, out)
	}
	onLoopbackAlone := map[string]bool{"127.0.0.1:9090": false, "127.0.0.1:9093": false, "127.0.0.1:3000": true}
	if err := s.answer(onLoopbackAlone); err != nil {
		t.Error(err)
	}
	receiver, paged, stop := s.receiver(`"alertname":"Watchdog"`)
	defer stop()
	before := s.backups()
	s.dotenv = filepath.Join(s.dir, "env")
	defer func() { s.dotenv = "" }()
	text := strings.Join(append(slices.Clone(s.settings), "COMPOSE_FILE=docker-compose.yml:deploy/compose/publish-prometheus.yml",
		"ALERTMANAGER_CONFIG="+s.dir+"/alertmanager.yml", "GRAFANA_ADDRESS=0.0.0.0", "GRAFANA_PORT=3001",
		"POSTGRES_MEMORY=1g", "POSTGRES_MEMORY_RESERVATION=512m", "POSTGRES_CPUS=1", "PROMETHEUS_RETENTION=2d", "LOG_FORMAT=json",
		"BACKUP_CRON=* * * * *", "BACKUP_TIME_ZONE=Europe/Vienna", "BACKUP_KEEP=1", "BACKUP_RETRY_DELAY=10s"), "\n")
	if err := os.WriteFile(s.dotenv, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.mustCompose("up", "--detach")
	pgtest.Eventually(t, 3*time.Minute, s.unhealthy)
	if err := s.answer(map[string]bool{
		"127.0.0.1:9090": true, "127.0.0.1:9093": true, "127.0.0.1:3001": true, hostAddress + ":3001": true, "127.0.0.1:3000": false,
	}); err != nil {
		t.Error(err)
	}
	if open, want := s.openPorts(), []string{"0.0.0.0:3001", "127.0.0.1:9090", "127.0.0.1:9093", receiver}; !slices.Equal(open, want) {
		t.Errorf("open on the host: %v, want %v", open, want)
	}

	for _, want := range [][3]string{
		{"postgres", "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.MemoryReservation}} {{.HostConfig.NanoCpus}}",
			"1073741824 1073741824 536870912 1000000000"},
		{"backup", "{{json .Config.Cmd}}",
			`["schedule","--cron=* * * * *","--time-zone=Europe/Vienna","--keep=1","--verify","--scratch-dir=/scratch","--retries=5","--retry-delay=10s"]`},
	} {
		if got := s.run("inspect", "--format", want[1], s.container(want[0])); got != want[2] {
			t.Errorf("%s has %s, want %s", want[0], got, want[2])
		}
	}
	var runtime struct{ StorageRetention string }
	if err := s.prometheus("status/runtimeinfo", nil, &runtime); err != nil || runtime.StorageRetention != "2d" {
		t.Errorf("Prometheus keeps %q, %v", runtime.StorageRetention, err)
	}
	for _, service := range []string{"exporter", "backup"} {
		line, _, _ := strings.Cut(s.run("logs", s.container(service)), "\n")
		if !json.Valid([]byte(line)) {
			t.Errorf("%s does not log JSON: %s", service, line)
		}
	}
	pgtest.Eventually(t, patience, func() error {
		if paged.Load() == nil {
			return errors.New("the receiver got nothing with its token")
		}
		return nil
	})
	// The minute's backup, and none but it.
	pgtest.Eventually(t, patience, func() error {
		if now := s.backups(); len(now) != 1 || slices.Contains(before, now[0]) {
			return fmt.Errorf("%v are left of %v", now, before)
		}
		return nil
	})

	s.dotenv = ""
	s.mustCompose("up", "--detach")
	pgtest.Eventually(t, 3*time.Minute, s.unhealthy)
	if err := s.answer(onLoopbackAlone); err != nil {
		t.Error(err)
	}
}

// answer connects to addresses of the host, and beside those on loopback to the same ports of its every other address.
func (s *stack) answer(want map[string]bool) error {
	others := []string{hostAddress}
	for _, id := range strings.Fields(s.run("network", "ls", "--quiet", "--filter", "driver=bridge")) {
		if gateway := s.run("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", id); gateway != "" {
			others = append(others, gateway)
		}
	}
	all := map[string]bool{}
	for address, open := range want {
		all[address] = open
		_, port, _ := strings.Cut(address, ":")
		for _, other := range others {
			if !want[hostAddress+":"+port] {
				all[other+":"+port] = false
			}
		}
	}
	var errs []error
	for address, open := range all {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		conn, err := s.dial(ctx, "tcp", address)
		cancel()
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != open {
			errs = append(errs, fmt.Errorf("%s answers: %v (%w), want %v", address, err == nil, err, open))
		}
	}
	return errors.Join(errs...)
}

// receiver writes an Alertmanager configuration as docs/compose.md says, whose receivers are a server outside of the
// containers; it tells when the first notification with a piece of text and the right token came, nil until then.
func (s *stack) receiver(text string) (address string, got *atomic.Pointer[time.Time], stop func()) {
	s.t.Helper()
	gateway := s.run("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", s.project+"_frontend")
	listener, err := s.listen(gateway + ":0")
	if err != nil {
		s.t.Fatal(err)
	}
	address, got = listener.Addr().String(), &atomic.Pointer[time.Time]{}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && r.Header.Get("Authorization") == "Bearer from a file" && strings.Contains(string(body), text) {
			now := time.Now()
			got.CompareAndSwap(nil, &now)
		}
	})}
	go func() { _ = server.Serve(listener) }()
	stop = func() { _ = server.Close() }

	routes, err := os.ReadFile(filepath.Join(s.root, "alerts/alertmanager.yml"))
	if err != nil {
		s.t.Fatal(err)
	}
	receivers, err := os.ReadFile(filepath.Join(s.root, "alerts/receivers/webhook.yml"))
	if err != nil {
		s.t.Fatal(err)
	}
	before, _, found := strings.Cut(string(routes), "\nreceivers:")
	config := before + "\n" + regexp.MustCompile(`https://\w+\.example\.com`).ReplaceAllString(string(receivers), "http://"+address)
	if !found || !strings.Contains(config, gateway) {
		s.t.Fatalf("no receivers in %s", config)
	}
	for path, content := range map[string]string{
		filepath.Join(s.dir, "alertmanager.yml"):                  config,
		filepath.Join(s.secrets, "alertmanager", "webhook_token"): "from a file",
		filepath.Join(s.secrets, "alertmanager", "deadman_token"): "from a file",
	} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	return address, got, stop
}

// backups are the ids of those that can be restored.
func (s *stack) backups() (ids []string) {
	s.t.Helper()
	out := s.mustCompose("exec", "-T", "backup", "pg_reliability_backup", "list", "--json")
	var list []struct{ ID, State string }
	if err := json.Unmarshal([]byte(out[strings.IndexByte(out, '['):]), &list); err != nil {
		s.t.Fatalf("pg_reliability_backup list: %v: %s", err, out)
	}
	for _, b := range list {
		if b.State == "verified" {
			ids = append(ids, b.ID)
		}
	}
	return ids
}
