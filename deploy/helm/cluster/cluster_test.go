//go:build linux

// Package cluster_test installs the chart into a Kubernetes cluster of one node that the test starts by itself.
package cluster_test

import (
	"os"
	"testing"
	"time"
)

// clusterSwitch turns the test on: it needs root, Linux, two processors and what install.sh builds in ten minutes.
const clusterSwitch = "PG_RELIABILITY_KUBERNETES"

// TestCluster follows docs/kubernetes.md in a cluster, and takes away what the chart must survive. The steps build on one another.
func TestCluster(t *testing.T) {
	switch {
	case os.Getenv(insideSwitch) != "":
		followGuide(t, os.Getenv(insideSwitch))
	case os.Getenv(clusterSwitch) != "1":
		t.Skipf("the chart is installed into a cluster of the test's own when %s=1 (make test-kubernetes)", clusterSwitch)
	case os.Getuid() != 0:
		t.Fatal("a node is started as root, in namespaces of its own")
	default:
		inNamespaces(t)
	}
}

// followGuide is what the second process does, in the namespaces that the first one made.
func followGuide(t *testing.T, dir string) {
	c := newCluster(t, dir)
	for _, step := range []struct {
		name string
		run  func(*cluster)
	}{
		{"a node that is ready", (*cluster).startNode},
		{"a database and a Prometheus operator", (*cluster).startNeighbours},
		{"helm install", (*cluster).install},
		{"first backup", (*cluster).firstBackup},
		{"targets and rules in Prometheus", (*cluster).scraped},
		{"an outage is counted and announced", (*cluster).outage},
		{"counts outlive the exporter's pod", (*cluster).countsSurvive},
		{"the exporter reads the daemon's repository", (*cluster).exporterReads},
		{"helm upgrade to a CronJob", (*cluster).cronJob},
		{"a fleet", (*cluster).fleet},
		{"helm uninstall keeps the backups", (*cluster).reinstall},
	} {
		began := time.Now()
		ok := t.Run(step.name, func(t *testing.T) {
			c.t = t
			defer func() { c.t = c.owner }()
			step.run(c)
			c.nothingRestarted()
		})
		t.Logf("%s: %.0f s", step.name, time.Since(began).Seconds())
		if !ok {
			c.explain()
			return // each step needs those before it
		}
	}
	c.guide.complete(t)
}
