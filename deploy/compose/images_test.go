//go:build linux

package compose_test

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Where the tests run no image can be pulled, so those that docker-compose.yml names are made here, under the same names:
// Debian's own PostgreSQL, Prometheus, Alertmanager and HAProxy, and the Go of this machine. The shell and its tools are
// busybox', as in the real images, so that what runs in them says nothing that Alpine's shell does not understand. The
// compose file and the Dockerfile are used as they are.

const standinBase = "standin/debian"

// standins are Dockerfiles by the repository's name in the compose file.
var standins = map[string]string{
	"postgres": `FROM ` + standinBase + `
RUN rm -rf /var/lib/postgresql && mkdir -p /var/lib/postgresql/data /docker-entrypoint-initdb.d /var/run/postgresql && \
    sed -i 's/^postgres:x:[0-9]*:[0-9]*:/postgres:x:70:70:/' /etc/passwd && sed -i 's/^postgres:x:[0-9]*:/postgres:x:70:/' /etc/group && \
    chown -R 70:70 /var/lib/postgresql /var/run/postgresql && chmod 1777 /var/lib/postgresql/data && chmod 3777 /var/run/postgresql
COPY postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
RUN ln -s docker-entrypoint.sh /usr/local/bin/docker-ensure-initdb.sh
ENV PATH=/usr/lib/postgresql/17/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PGDATA=/var/lib/postgresql/data PG_MAJOR=17 LANG=C.UTF-8
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
EXPOSE 5432
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
`,
	"prom/prometheus": `FROM ` + standinBase + `
RUN mkdir -p /prometheus && chown 65534:65534 /prometheus
USER nobody
VOLUME /prometheus
ENTRYPOINT ["/usr/bin/prometheus"]
`,
	"prom/alertmanager": `FROM ` + standinBase + `
RUN mkdir -p /alertmanager && chown 65534:65534 /alertmanager
USER nobody
VOLUME /alertmanager
ENTRYPOINT ["/usr/bin/prometheus-alertmanager"]
`,
	"haproxy": `FROM ` + standinBase + `
USER 99:99
STOPSIGNAL SIGUSR1
ENTRYPOINT ["/usr/sbin/haproxy", "-W", "-db"]
CMD ["-f", "/usr/local/etc/haproxy/haproxy.cfg"]
`,
	"grafana/grafana": `FROM ` + standinBase + `
COPY grafana /usr/local/bin/grafana
RUN mkdir -p /var/lib/grafana && chown 472:0 /var/lib/grafana
USER 472
ENTRYPOINT ["/usr/local/bin/grafana"]
`,
}

// makeImages makes a stand-in for each image that the compose file names and that is not ours.
func (s *stack) makeImages() {
	s.t.Helper()
	rootfs := filepath.Join(cacheDir(s.t), "compose", "rootfs-1.tar")
	if _, err := os.Stat(rootfs); err != nil {
		s.t.Fatalf("%v. HINT: Run internal/pgtest/install.sh compose", err)
	}
	s.run("import", "--change", "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", rootfs, standinBase+":raw")
	// Its packages are there already.
	s.build(standinBase, s.buildContext(`FROM `+standinBase+`:raw
RUN for applet in $(busybox --list); do ln -sf /bin/busybox "/usr/local/bin/$applet"; done && \
    ln -sf /bin/busybox /bin/sh && rm /bin/bash /bin/dash && \
    printf '#!/bin/sh\nfor package; do :; done\ncommand -v "$package"\n' >/sbin/apk && chmod 755 /sbin/apk`, nil))
	grafana := filepath.Join(s.dir, "grafana")
	build := exec.Command("go", "build", "-o", grafana, "./standin/grafana")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := output(build); err != nil {
		s.t.Fatalf("build the stand-in of Grafana: %v: %s", err, out)
	}
	s.loadImages()
	files := map[string]string{"postgres-entrypoint.sh": "standin/postgres-entrypoint.sh", "grafana": grafana}
	for _, image := range s.images() {
		repository, _, _ := strings.Cut(image, ":")
		if _, err := s.try("image", "inspect", image); err == nil {
			s.t.Logf("image %s is not a stand-in, but of %s", image, imagesArchive)
		} else if home := os.Getenv(grafanaHome); home != "" && repository == "grafana/grafana" {
			s.realGrafana(image, home)
		} else if dockerfile, ok := standins[repository]; ok {
			s.build(image, s.buildContext(dockerfile, files))
		} else if !strings.HasPrefix(repository, "pg-reliability/") {
			s.t.Errorf("docker-compose.yml names %s, which has no stand-in here", image)
		}
	}
	s.makeGo()
}

// imagesArchive names what `docker save` wrote where images can be pulled: those in it are used in the stand-ins' place.
const imagesArchive = "PG_RELIABILITY_IMAGES"

func (s *stack) loadImages() {
	s.t.Helper()
	if archive := os.Getenv(imagesArchive); archive != "" {
		s.run("load", "--quiet", "--input", archive)
	}
}

// grafanaHome names the directory of a real Grafana (bin/grafana, conf, public), to be used in the stand-in's place.
const grafanaHome = "PG_RELIABILITY_GRAFANA"

func hasGrafana() bool { return os.Getenv(grafanaHome) != "" }

func (s *stack) realGrafana(image, home string) {
	s.t.Helper()
	dockerfile := `FROM ` + standinBase + `
COPY grafana /usr/share/grafana
COPY run.sh /run.sh
ENV PATH=/usr/share/grafana/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin GF_PATHS_HOME=/usr/share/grafana \
    GF_PATHS_CONFIG=/etc/grafana/grafana.ini GF_PATHS_DATA=/var/lib/grafana GF_PATHS_LOGS=/var/log/grafana \
    GF_PATHS_PLUGINS=/var/lib/grafana/plugins GF_PATHS_PROVISIONING=/etc/grafana/provisioning
RUN mkdir -p /var/lib/grafana/plugins /var/log/grafana /etc/grafana && cd /etc/grafana && cp /usr/share/grafana/conf/sample.ini grafana.ini && \
    mkdir provisioning && cd provisioning && mkdir datasources dashboards notifiers plugins alerting && \
    chown -R 472:0 /var/lib/grafana && chmod 755 /usr/share/grafana/bin/grafana
USER 472
WORKDIR /usr/share/grafana
ENTRYPOINT ["/run.sh"]
`
	s.build(image, pipeTar(func(w *tar.Writer) error {
		if err := w.WriteHeader(&tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(dockerfile))}); err != nil {
			return err
		}
		if _, err := io.WriteString(w, dockerfile); err != nil {
			return err
		}
		for _, part := range []string{"bin", "conf", "public"} {
			if err := addTree(w, "grafana/"+part, filepath.Join(home, part)); err != nil {
				return err
			}
		}
		return addFile(w, "run.sh", "standin/grafana-run.sh")
	}))
}

// images are those of the compose file, profiles included, each once.
func (s *stack) images() []string {
	s.t.Helper()
	var config struct {
		Services map[string]struct{ Image string }
	}
	out := s.mustCompose("--profile", "*", "config", "--format", "json")
	if err := json.Unmarshal([]byte(out[strings.IndexByte(out, '{'):]), &config); err != nil {
		s.t.Fatalf("docker compose config: %v: %s", err, out)
	}
	seen := map[string]bool{}
	var images []string
	for _, service := range config.Services {
		if !seen[service.Image] {
			seen[service.Image] = true
			images = append(images, service.Image)
		}
	}
	return images
}

func (s *stack) buildContext(dockerfile string, files map[string]string) io.Reader {
	return pipeTar(func(w *tar.Writer) error {
		if err := w.WriteHeader(&tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(dockerfile))}); err != nil {
			return err
		}
		if _, err := io.WriteString(w, dockerfile); err != nil {
			return err
		}
		for name, path := range files {
			if err := addFile(w, name, path); err != nil {
				return err
			}
		}
		return nil
	})
}

// makeGo makes the image that the Dockerfile builds in: this machine's Go, and the modules of go.mod as a file proxy.
func (s *stack) makeGo() {
	s.t.Helper()
	modules := filepath.Join(s.dir, "modules")
	download := exec.Command("go", "mod", "download")
	download.Dir = s.root
	download.Env = append(os.Environ(), "GOMODCACHE="+modules, "GOFLAGS=-modcacherw",
		"GOPROXY=file://"+goEnv(s.t, "GOMODCACHE")+"/cache/download,"+goEnv(s.t, "GOPROXY"))
	if out, err := output(download); err != nil {
		s.t.Fatalf("go mod download: %v: %s", err, out)
	}
	goroot := runtimeGOROOT(s.t)
	s.build("golang:1.26-alpine", pipeTar(func(w *tar.Writer) error {
		dockerfile := `FROM ` + standinBase + `
COPY go /usr/local/go
COPY download /modules
ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin GOPATH=/go GOPROXY=file:///modules GONOSUMDB=* GOFLAGS=-modcacherw
WORKDIR /go
`
		if err := w.WriteHeader(&tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(dockerfile))}); err != nil {
			return err
		}
		if _, err := io.WriteString(w, dockerfile); err != nil {
			return err
		}
		for _, part := range []string{"bin", "pkg", "src", "lib", "go.env", "VERSION", "LICENSE", "PATENTS"} {
			if err := addTree(w, "go/"+part, filepath.Join(goroot, part)); err != nil {
				return err
			}
		}
		return addTree(w, "download", filepath.Join(modules, "cache", "download"))
	}))
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatalf("go env %s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}

func runtimeGOROOT(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil || runtime.GOOS != "linux" {
		t.Fatalf("the image that Go builds in is made of this machine's Go: %v", err)
	}
	return goEnv(t, "GOROOT")
}

func cacheDir(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("PG_RELIABILITY_CACHE"); dir != "" {
		return dir
	}
	return "/opt/pg_reliability" // root's, and root is who runs this
}

// pipeTar streams a tar archive while it is read.
func pipeTar(fill func(*tar.Writer) error) io.Reader {
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		err := fill(t)
		if err == nil {
			err = t.Close()
		}
		w.CloseWithError(err)
	}()
	return r
}

func addTree(w *tar.Writer, name, root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return addFile(w, filepath.Join(name, rel), path)
	})
}

func addFile(w *tar.Writer, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("image file %s: %w", name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: int64(info.Mode().Perm()), Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// imagesAreSmallAndLabelled looks at our own images.
func imagesAreSmallAndLabelled(t *testing.T, s *stack) {
	t.Helper()
	const most = 25 << 20
	for _, name := range []string{"exporter", "backup"} {
		var list []struct {
			Size   int64
			Config struct {
				User   string
				Labels map[string]string
			}
		}
		s.inspect("pg-reliability/"+name+":local", &list)
		image := list[0]
		if image.Config.User != "70:70" || image.Config.Labels["org.opencontainers.image.licenses"] != "Apache-2.0" {
			t.Errorf("image %s: user %q, labels %v", name, image.Config.User, image.Config.Labels)
		}
		if name == "exporter" && image.Size > most {
			t.Errorf("the exporter's image has %d bytes, want less than %d", image.Size, most)
		}
		t.Logf("image %s: %.1f MB", name, float64(image.Size)/1e6)
	}
}
