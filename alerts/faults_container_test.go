package alerts_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// containerFaults are of a server in a container of a real engine.
func containerFaults() []fault {
	return []fault{
		{
			name: "container-restarted", about: "SIGKILL of the first process of the server's container, which the engine starts again",
			needs: needsDocker, build: func(s *scene) { contain(s, "always", nil) }, cause: incident.ServerKilled,
			inject: func(s *scene) { s.must(syscall.Kill(s.containerPID(), syscall.SIGKILL)) },
			want:   []alarm{{name: "PostgresContainerRestarted", severity: "warning"}},
		},
		{
			// The server ends with its session, as those set up by Patroni and by Kubernetes' operators do: Docker 20.10 tells
			// of the kill only when the container ends.
			name: "container-out-of-memory", about: "a query needs more memory than the server's container may have, and the server ends",
			needs: needsDocker, build: func(s *scene) { contain(s, "no", map[string]string{"restart_after_crash": "off"}) },
			cause:  incident.OutOfMemory,
			inject: eatMemory,
			heal:   func(s *scene) { s.docker("start", containerName) },
			want:   []alarm{{name: "PostgresContainerOOMKilled", severity: "warning"}, {name: "PostgresDown", severity: "critical"}},
			// The flag of Docker 20.10 outlives the start: the rule ends it.
			lasts: map[string]string{"PostgresContainerOOMKilled": "after 1 h"},
			may:   append([]string{"PostgresContainerRestarted"}, longOutage...), // started by hand
		},
	}
}

const containerName = "postgres"

func needsDocker(t *testing.T) {
	if os.Getenv("PG_RELIABILITY_DOCKER") != "1" {
		t.Skip("needs a container engine. HINT: as root, `internal/pgtest/install.sh docker` says whether one can run here; then set " +
			"PG_RELIABILITY_DOCKER=1")
	}
}

// contain moves a server into a container: the same files, the engine's restart policy and a limit of memory.
func contain(s *scene, restart string, settings map[string]string) {
	s.pg = newCluster(s, settings)
	s.must(errors.Join(s.pg.Stop(), s.pg.Configure(map[string]string{"unix_socket_directories": "''"})))
	s.startEngine()
	data, err := os.Stat(s.pg.DataDir())
	s.must(err)
	owner := data.Sys().(*syscall.Stat_t)
	args := []string{"run", "-d", "--name", containerName, "--restart", restart, "--network", "host",
		"--memory", "128m", "--memory-swap", "128m", "--shm-size", "64m", "--user", fmt.Sprintf("%d:%d", owner.Uid, owner.Gid),
		"-v", s.pg.DataDir() + ":" + s.pg.DataDir(), "-e", "LC_ALL=C", "-e", "TZ=UTC"}
	// The machine's own programs, libraries and users are the image.
	for _, dir := range []string{"/usr", "/bin", "/lib", "/lib64", "/etc", filepath.Dir(s.pg.Install.BinDir)} {
		if _, err := os.Stat(dir); err == nil {
			args = append(args, "-v", dir+":"+dir+":ro")
		}
	}
	s.docker(append(args, "pgr:empty", s.pg.Install.Bin("postgres"), "-D", s.pg.DataDir(), "-p", strconv.Itoa(s.pg.Port))...)
	s.Cleanup(func() { s.docker("rm", "-f", containerName) })
	s.must(s.waitServer())
	s.args = append(s.args, "--container.name="+containerName, "--container.host="+s.engine)
}

// waitServer waits until the server in the container answers.
func (s *scene) waitServer() error {
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, err = s.pg.Query(context.Background(), "postgres", "SELECT 1"); err == nil {
			return nil
		}
	}
	out, _ := s.dockerCommand("logs", containerName).CombinedOutput()
	return fmt.Errorf("the server in the container does not answer: %w\n%s", err, out)
}

// startEngine runs a Docker engine without a network, with an image that holds nothing.
func (s *scene) startEngine() {
	s.Helper()
	// Short, because of the unix sockets in it.
	dir, err := os.MkdirTemp("/tmp", "pgr-")
	s.must(err)
	s.Cleanup(func() {
		_ = exec.Command("umount", "-l", dir+"/exec/netns/default").Run() // the engine leaves it
		_ = os.RemoveAll(dir)
	})
	s.engine = "unix://" + dir + "/docker.sock"
	cmd := exec.Command("dockerd", "--host", s.engine, "--data-root", dir+"/data", "--exec-root", dir+"/exec",
		"--pidfile", dir+"/pid", "--bridge", "none", "--iptables=false", "--storage-driver", "vfs")
	var log pgtest.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	s.must(cmd.Start())
	s.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if s.Failed() {
			s.Logf("dockerd:\n%s", log.Tail())
		}
	})
	pgtest.Eventually(s, time.Minute, func() error {
		if out, err := s.dockerCommand("version").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s\n%s", err, out, log.Tail())
		}
		return nil
	})
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	s.must(w.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o777}))
	s.must(w.Close())
	file := filepath.Join(dir, "image.tar")
	s.must(os.WriteFile(file, image.Bytes(), 0o600))
	s.docker("import", file, "pgr:empty")
}

func (s *scene) dockerCommand(args ...string) *exec.Cmd {
	return exec.Command("docker", append([]string{"-H", s.engine}, args...)...)
}

func (s *scene) docker(args ...string) string {
	s.Helper()
	out, err := s.dockerCommand(args...).CombinedOutput()
	if err != nil {
		s.Fatalf("docker %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (s *scene) containerPID() int {
	s.Helper()
	pid, err := strconv.Atoi(s.docker("inspect", "-f", "{{.State.Pid}}", containerName))
	s.must(err)
	return pid
}

// eatMemory lets one session take more than there is.
func eatMemory(s *scene) {
	// The engine forgets the kill when it learns of the end first, so it may take more than one.
	for range 5 {
		if _, err := s.pg.Query(context.Background(), "postgres", "SELECT array_length(array_agg(repeat(g::text, 1000)), 1) FROM "+
			"generate_series(1, 1000000) AS g"); err == nil {
			s.Fatal("the query had enough memory")
		}
		s.docker("wait", containerName)
		if s.docker("inspect", "-f", "{{.State.OOMKilled}}", containerName) == "true" {
			return
		}
		s.docker("start", containerName)
		s.must(s.waitServer())
	}
	s.Fatal("the engine does not tell of a kill for want of memory")
}
