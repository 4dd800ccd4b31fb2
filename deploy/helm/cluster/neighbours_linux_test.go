package cluster_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

const (
	namespace       = "db"
	databaseHost    = "db1.db.svc"
	postgresImage   = "docker.io/library/postgres:17"
	prometheusImage = "localhost/prometheus:1"
	volumes         = 16 // more than there are claims: a volume is used once
)

// startNeighbours makes what the guide expects: the operator as it is installed by its own manifest, a Prometheus that selects by
// the label of the guide, and a server with both roles, in a namespace where the Pod Security Standard `restricted` is enforced.
func (c *cluster) startNeighbours() {
	manifest, err := os.ReadFile(c.built("bundle.yaml"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.kubectl.apply(string(manifest))
	var disks strings.Builder
	for n := range volumes {
		path := c.file(fmt.Sprintf("volumes/disk%d", n))
		if err := os.MkdirAll(path, 0o755); err != nil {
			c.t.Fatal(err)
		}
		fmt.Fprintf(&disks, `---
apiVersion: v1
kind: PersistentVolume
metadata: {name: disk%d}
spec:
  capacity: {storage: 50Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  local: {path: %s}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node]}]}]}}
`, n, path)
	}
	c.kubectl.apply(disks.String())
	c.kubectl.apply(c.testdata("database.yaml"))
	c.kubectl.run("create", "secret", "generic", "db1-tls", "--namespace", namespace,
		"--from-file=tls.crt="+c.file("database.crt"), "--from-file=tls.key="+c.file("database.key"))
	c.kubectl.run("create", "secret", "generic", "db1-superuser", "--namespace", namespace, "--from-literal=password="+rand.Text())
	c.kubectl.run("rollout", "status", "--namespace=default", "deployment/prometheus-operator", "--timeout=4m")
	c.kubectl.apply(c.testdata("prometheus.yaml"))
	c.kubectl.ready("statefulset/db1")

	c.writeAsReader()
	for _, script := range []string{"monitoring_role.sql", "backup_role.sql"} {
		text, err := os.ReadFile(filepath.Join(c.root, "deploy/sql", script))
		if err != nil {
			c.t.Fatal(err)
		}
		c.sql("postgres", string(text))
	}
	for role, file := range map[string]string{"reliability_exporter": "exporter_password", "reliability_backup": "backup_password"} {
		text, err := os.ReadFile(c.file("reader/" + file))
		if err != nil {
			c.t.Fatal(err)
		}
		c.sql("postgres", fmt.Sprintf("ALTER ROLE %s PASSWORD '%s';", role, strings.TrimSpace(string(text))))
	}
	c.sql("app", "CREATE TABLE orders AS SELECT n, md5(n::text) AS what FROM generate_series(1, 10000) AS n;")
	c.eventually(patience, func() error { return c.prometheusAPI("status/runtimeinfo", new(any)) })
}

// writeAsReader makes the directory in which the guide's commands are run.
func (c *cluster) writeAsReader() {
	c.t.Helper()
	c.write("reader/exporter_password", rand.Text()+"\n")
	c.write("reader/backup_password", rand.Text()+"\n")
	certificate, err := os.ReadFile(c.file("ca.crt"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.write("reader/ca.crt", string(certificate))
	if err := os.Symlink(filepath.Join(c.root, "deploy"), c.file("reader/deploy")); err != nil {
		c.t.Fatal(err)
	}
}

// sql runs a script as the superuser, in the server's container.
func (c *cluster) sql(database, script string) {
	c.t.Helper()
	cmd := exec.Command("kubectl", "exec", "--stdin", "--namespace", namespace, "statefulset/db1", "--",
		"psql", "--no-psqlrc", "--username=postgres", "--dbname="+database, "--set=ON_ERROR_STOP=1")
	cmd.Stdin = strings.NewReader(script)
	if _, err := c.output(cmd); err != nil {
		c.t.Fatal(err)
	}
}

// scale changes how many servers there are, and waits until it is so.
func (c *cluster) scale(servers int) {
	c.t.Helper()
	c.kubectl.run("scale", "--namespace", namespace, "statefulset/db1", fmt.Sprintf("--replicas=%d", servers))
	c.eventually(patience, func() error {
		found := c.pods("app=db1")
		if len(found) != servers || servers > 0 && !found[0].ready() {
			return fmt.Errorf("want %d servers: %+v", servers, found)
		}
		return nil
	})
}

func (c *cluster) testdata(name string) string {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

var operatorImages = regexp.MustCompile(`quay\.io/prometheus-operator/prometheus-(operator|config-reloader):\S+`)

// operatorImage is the name that the operator's manifest has for an image.
func (c *cluster) operatorImage(name string) string {
	c.t.Helper()
	manifest, err := os.ReadFile(c.built("bundle.yaml"))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, found := range operatorImages.FindAllStringSubmatch(string(manifest), -1) {
		if found[1] == name {
			return found[0]
		}
	}
	c.t.Fatalf("the operator's manifest has no image of its %s", name)
	return ""
}
