package cluster_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	nodeAddress = "10.77.0.1"
	services    = "10.96.0.0/16"
	pods        = "10.244.0.0/16"
)

// process is one of the node's programs. None is ever stopped: they end with their namespace.
type process struct {
	log  string
	dead chan struct{}
	err  error
}

// start runs a program until the test's end.
func (c *cluster) start(name string, arguments ...string) *process {
	c.t.Helper()
	path, err := exec.LookPath(name) // the built ones come first in PATH
	if err != nil {
		c.t.Fatalf("%v. HINT: Run internal/pgtest/install.sh kubernetes", err)
	}
	p := &process{log: filepath.Join(c.dir, name+".log"), dead: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(path, arguments...)
	cmd.Dir = c.dir
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	go func() { p.err = cmd.Wait(); close(p.dead) }()
	c.processes = append(c.processes, p)
	return p
}

// startNode starts what makes one machine a cluster, as documented for each program.
func (c *cluster) startNode() {
	c.makeKeys()
	c.write("kubeconfig", fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://%s:6443", certificate-authority: %s/ca.crt}}]
users: [{name: admin, user: {client-certificate: %[2]s/admin.crt, client-key: %[2]s/admin.key}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
`, nodeAddress, c.dir))
	kubeconfig := "--kubeconfig=" + c.file("kubeconfig")

	c.start("etcd", "--data-dir="+c.file("etcd"), "--unsafe-no-fsync")
	c.start("kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", "--advertise-address="+nodeAddress,
		"--tls-cert-file=apiserver.crt", "--tls-private-key-file=apiserver.key", "--client-ca-file=ca.crt",
		"--kubelet-client-certificate=admin.crt", "--kubelet-client-key=admin.key", "--kubelet-certificate-authority=ca.crt",
		"--service-cluster-ip-range="+services, "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=accounts.pub", "--service-account-signing-key-file=accounts.key",
		"--authorization-mode=Node,RBAC", "--allow-privileged=true")
	c.eventually(3*time.Minute, func() error { _, err := c.kubectl.try("get", "--raw", "/readyz"); return err })

	c.start("kube-controller-manager", kubeconfig, "--service-account-private-key-file=accounts.key", "--root-ca-file=ca.crt",
		"--use-service-account-credentials", "--allocate-node-cidrs", "--cluster-cidr="+pods, "--flex-volume-plugin-dir="+c.file("plugins"))
	c.start("kube-scheduler", kubeconfig)
	c.startContainers()
	c.write("resolv.conf", "nameserver "+nodeAddress+"\n")
	c.write("kubelet.yaml", fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
cgroupRoot: /%s
failSwapOn: false
containerRuntimeEndpoint: unix://%s
clusterDNS: [%s]
clusterDomain: cluster.local
resolvConf: %s/resolv.conf
tlsCertFile: %[4]s/kubelet.crt
tlsPrivateKeyFile: %[4]s/kubelet.key
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %[4]s/ca.crt}}
authorization: {mode: Webhook}
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%} # the machine's disk is not ours to judge
imageGCHighThresholdPercent: 100
syncFrequency: 10s
volumePluginDir: %[4]s/plugins # instead of one below /usr
`, filepath.Base(c.dir), c.containerd(), nodeAddress, c.dir))
	c.start("kubelet", "--config=kubelet.yaml", kubeconfig, "--hostname-override=node", "--node-ip="+nodeAddress)
	c.start("kube-proxy", kubeconfig, "--hostname-override=node", "--proxy-mode=iptables", "--cluster-cidr="+pods,
		"--conntrack-max-per-core=0", "--conntrack-min=0") // the machine's, not ours
	c.write("Corefile", fmt.Sprintf(`.:53 {
  bind %s
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig %s
  }
}
`, nodeAddress, c.file("kubeconfig")))
	c.start("coredns", "-conf", "Corefile")
	c.eventually(3*time.Minute, func() error {
		_, err := c.kubectl.try("wait", "--for=condition=Ready", "node/node", "--timeout=1s")
		return err
	})
	c.t.Log(c.kubectl.run("get", "nodes", "--output=wide"))
}

func (c *cluster) containerd() string { return c.file("containerd.sock") }

// startContainers starts containerd with a network of pods that needs no bridge, and gives it the images.
func (c *cluster) startContainers() {
	plugins := "/usr/lib/cni" // Debian's
	c.write("cni/10.conflist", fmt.Sprintf(`{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "%s"}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
`, c.file("ipam")))
	// Without the right to be killed later than others, as in many containers, none is asked for.
	c.write("containerd.toml", fmt.Sprintf(`version = 2
root = "%[1]s/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "%[2]s"
[plugins."io.containerd.internal.v1.opt"]
  path = "%[1]s/opt"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "%[3]s"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "%[4]s"
    conf_dir = "%[1]s/cni"
`, c.dir, c.containerd(), pauseImage, plugins))
	c.start("containerd", "--config=containerd.toml")
	c.eventually(time.Minute, func() error {
		_, err := c.output(exec.Command("ctr", "--address", c.containerd(), "version"))
		return err
	})
	c.importImages()
}

// explain shows, after a failure, what the pods and the node's programs said.
func (c *cluster) explain() {
	for _, p := range c.processes {
		select {
		case <-p.dead:
			c.t.Logf("%s ended: %v", filepath.Base(p.log), p.err)
		default:
			if !strings.HasPrefix(filepath.Base(p.log), "kubelet") {
				continue
			}
		}
		text, _ := os.ReadFile(p.log)
		c.t.Logf("the end of %s:\n%s", filepath.Base(p.log), tail(string(text), 3000))
	}
	for _, arguments := range [][]string{
		{"get", "pods,pvc,pv,jobs", "--all-namespaces", "--output=wide"},
		{"get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"},
	} {
		out, _ := c.kubectl.try(arguments...)
		c.t.Logf("kubectl %s:\n%s", strings.Join(arguments, " "), tail(out, 6000))
	}
	names, _ := c.kubectl.try("get", "pods", "--all-namespaces", "--output=jsonpath={range .items[*]}{.metadata.namespace} "+
		"{.metadata.name}{\"\\n\"}{end}")
	for line := range strings.Lines(names) {
		if f := strings.Fields(line); len(f) == 2 {
			out, _ := c.kubectl.try("logs", "--namespace", f[0], f[1], "--all-containers", "--tail=25")
			c.t.Logf("%s:\n%s", f[1], tail(out, 3000))
		}
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }
