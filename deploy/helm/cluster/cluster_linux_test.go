package cluster_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// patience for what takes a pod some seconds, on a busy machine.
const patience = 4 * time.Minute

// reload is how long Prometheus may take to know what was installed: of some changes the operator's config reloader only learns
// when it looks at all files, every three minutes.
const reload = 6 * time.Minute

// cluster is a node and what is asked of it.
type cluster struct {
	t         *testing.T // the step that runs
	owner     *testing.T
	dir, root string
	authority authority
	processes []*process
	kubectl   kubectl
	guide     *guide
	notes     string            // what helm said last
	upgrade   string            // the guide's command
	backups   map[string]string // those of the daemon: their states by id
}

func newCluster(t *testing.T, dir string) *cluster {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, owner: t, dir: dir, root: root, guide: readGuide(t, filepath.Join(root, "docs/kubernetes.md"))}
	built := filepath.Dir(c.built("kubectl"))
	if _, err := os.Stat(built); err != nil {
		t.Fatalf("%v. HINT: Run internal/pgtest/install.sh kubernetes", err)
	}
	// For the programs that are started here, and for the guide's commands.
	for name, value := range map[string]string{
		"PATH": built + ":" + os.Getenv("PATH"), "KUBECONFIG": c.file("kubeconfig"), "KUBECACHEDIR": c.file("cache"), "TMPDIR": c.dir,
		"HELM_CACHE_HOME": c.file("helm"), "HELM_CONFIG_HOME": c.file("helm"), "HELM_DATA_HOME": c.file("helm"),
	} {
		t.Setenv(name, value)
	}
	c.kubectl = kubectl{c}
	return c
}

func (c *cluster) file(name string) string { return filepath.Join(c.dir, name) }

func (c *cluster) write(name, text string) {
	c.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(c.file(name)), 0o755), os.WriteFile(c.file(name), []byte(text), 0o600)); err != nil {
		c.t.Fatal(err)
	}
}

// output is what a command said, both streams.
func (c *cluster) output(cmd *exec.Cmd) (string, error) {
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	if err := cmd.Run(); err != nil {
		return strings.TrimSpace(b.String()), fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, tail(b.String(), 3000))
	}
	return strings.TrimSpace(b.String()), nil
}

// shell runs commands as the guide's reader does, in a directory with the repository and the files that he wrote. A
// complaint of Kubernetes about what was installed fails the step.
func (c *cluster) shell(script string) string {
	c.t.Helper()
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = c.file("reader")
	out, err := c.output(cmd)
	if err != nil {
		c.t.Fatal(err)
	}
	if strings.Contains(out, "Warning") || strings.Contains(out, "would violate") {
		c.t.Errorf("%s\nwarns:\n%s", script, out)
	}
	c.t.Logf("%s\n%s", script, out)
	return out
}

// eventually waits for a condition, and fails at once where one of the node's programs has ended.
func (c *cluster) eventually(within time.Duration, f func() error) {
	c.t.Helper()
	pgtest.Eventually(c.t, within, func() error {
		for _, p := range c.processes {
			select {
			case <-p.dead:
				c.t.Fatalf("%s ended: %v", strings.TrimSuffix(filepath.Base(p.log), ".log"), p.err)
			default:
			}
		}
		err := f()
		if err != nil {
			time.Sleep(300 * time.Millisecond) // the asking is not free
		}
		return err
	})
}

// kubectl asks the cluster.
type kubectl struct{ c *cluster }

func (k kubectl) try(arguments ...string) (string, error) {
	return k.c.output(exec.Command("kubectl", arguments...))
}

func (k kubectl) run(arguments ...string) string {
	k.c.t.Helper()
	out, err := k.try(arguments...)
	if err != nil {
		k.c.t.Fatal(err)
	}
	return out
}

// apply makes objects of a manifest.
func (k kubectl) apply(manifest string) {
	k.c.t.Helper()
	cmd := exec.Command("kubectl", "apply", "--server-side", "--filename=-")
	cmd.Stdin = strings.NewReader(manifest)
	if out, err := k.c.output(cmd); err != nil {
		k.c.t.Fatal(err)
	} else if strings.Contains(out, "Warning") {
		k.c.t.Errorf("kubectl apply warns: %s", out)
	}
}

// get reads an object, or a list of them.
func (k kubectl) get(into any, arguments ...string) {
	k.c.t.Helper()
	out := k.run(append([]string{"get", "--output=json"}, arguments...)...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		k.c.t.Fatalf("kubectl get %s: %v", strings.Join(arguments, " "), err)
	}
}

// ready waits for a rollout's end.
func (k kubectl) ready(workloads ...string) {
	k.c.t.Helper()
	for _, w := range workloads {
		k.run("rollout", "status", "--namespace", namespace, w, "--timeout=4m")
	}
}

// fetch reads a page of a service or a pod; the node is in the network of both.
func fetch(address string) (string, error) {
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Get("http://" + address)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return "", errors.Join(fmt.Errorf("%s: %s: %.500s", address, response.Status, text), err)
	}
	return string(text), nil
}

// service is the address of a service of the chart's namespace.
func (c *cluster) service(name string) string {
	c.t.Helper()
	return c.kubectl.run("get", "service", "--namespace", namespace, name, "--output=jsonpath={.spec.clusterIP}:{.spec.ports[0].port}")
}

// pod is as much of a pod as the steps ask about.
type pod struct {
	Metadata struct{ Name, UID string }
	Spec     struct{ NodeName string }
	Status   struct {
		Phase, PodIP      string
		Conditions        []struct{ Type, Status string }
		ContainerStatuses []struct {
			Name         string
			RestartCount int
		}
	}
}

func (p pod) ready() bool {
	for _, condition := range p.Status.Conditions {
		if condition.Type == "Ready" {
			return condition.Status == "True"
		}
	}
	return false
}

func (c *cluster) pods(selector string) []pod {
	c.t.Helper()
	var list struct{ Items []pod }
	c.kubectl.get(&list, "pods", "--namespace", namespace, "--selector", selector)
	return list.Items
}

// nothingRestarted is true after each step: probes that are too strict, or too little memory, would show here.
func (c *cluster) nothingRestarted() {
	c.t.Helper()
	for _, p := range c.pods("") {
		for _, s := range p.Status.ContainerStatuses {
			if s.RestartCount > 0 {
				c.t.Errorf("the container %s of %s was restarted %d times", s.Name, p.Metadata.Name, s.RestartCount)
			}
		}
	}
}

// cacheDir is where install.sh builds.
func cacheDir() string {
	if dir := os.Getenv("PG_RELIABILITY_CACHE"); dir != "" {
		return dir
	}
	return "/opt/pg_reliability" // root's, and root is who runs this
}
