package test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// certificate writes one that is good for nothing but being read.
func certificate(t *testing.T, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What the chart writes into the ConfigMap is a configuration that the exporter takes, and tells Prometheus about.
func TestExporterTakesTheFleet(t *testing.T) {
	programs := programs(t)
	for file, want := range map[string]int{"values/fleet.yaml": 2, exampleDir + "instances-values.yaml": 3} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			dir := t.TempDir()
			config := rendered(t, file)["ConfigMap/watch-pg-reliability-fleet"].(*corev1.ConfigMap).Data["fleet.yml"]
			config = strings.ReplaceAll(config, "/etc/pg_reliability/ca", dir)
			certificate(t, filepath.Join(dir, "ca.crt"))
			for name, text := range map[string]string{"fleet.yml": config, "password": "secret"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			address := start(t, filepath.Join(programs, "pg_reliability_exporter"), "--config.file="+filepath.Join(dir, "fleet.yml"),
				"--state.dir=none", "--web.listen-address=127.0.0.1:0")
			response, err := http.Get("http://" + address + "/api/targets")
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			var groups []struct {
				Targets []string
				Labels  map[string]string
			}
			if err := json.NewDecoder(response.Body).Decode(&groups); err != nil {
				t.Fatal(err)
			}
			if len(groups) != want {
				t.Errorf("targets are %v, want %d", groups, want)
			}
			for _, g := range groups {
				// As the ScrapeConfig relies on: the exporter's own address, and everything else in labels.
				if len(g.Targets) != 1 || g.Targets[0] != address || g.Labels["instance"] == "" || g.Labels["cluster"] != "shop" ||
					g.Labels["__metrics_path__"] != "/probe" {
					t.Errorf("a target is %+v", g)
				}
			}
		})
	}
}

var listening = regexp.MustCompile(`address=([0-9.]+:[0-9]+)`)

// start runs the exporter until the test's end and returns where it listens.
func start(t *testing.T, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{}
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	var seen strings.Builder
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			go func() { // nobody reads on; the program must not wait for that
				for lines.Scan() {
				}
			}()
			return m[1]
		}
		seen.WriteString(lines.Text() + "\n")
	}
	t.Fatalf("the exporter ended:\n%s", seen.String())
	return ""
}
