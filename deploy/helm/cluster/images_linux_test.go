package cluster_test

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Where the tests run no image can be pulled, so they are made here under the names by which the chart, the database's manifest
// and the Prometheus operator ask for them: ours as deploy/docker/Dockerfile says, PostgreSQL as Debian has it, others
// of one program each.

const pauseImage = "localhost/pause:1"

// image is what a container starts with.
type image struct {
	layers               []string // tar files, the lowest first
	user                 string
	environ              []string
	entrypoint, commands []string
}

// importImages makes all images and gives them to containerd.
func (c *cluster) importImages() {
	c.t.Helper()
	out := c.file("images")
	if err := os.Mkdir(out, 0o755); err != nil {
		c.t.Fatal(err)
	}
	build := func(path string, arguments ...string) {
		cmd := exec.Command("go", append([]string{"build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(out, path)}, arguments...)...)
		cmd.Dir = c.root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if _, err := c.output(cmd); err != nil {
			c.t.Fatal(err)
		}
	}
	version := c.appVersion()
	build("pause", "-ldflags=-s -w", "./deploy/helm/cluster/testdata/pause")
	for _, program := range []string{"pg_reliability_exporter", "pg_reliability_backup"} {
		build(program, "-tags=timetzdata", "-ldflags=-s -w -X github.com/prometheus/common/version.Version="+version, "./cmd/"+program)
	}
	images := map[string]image{
		pauseImage:                         c.oneProgram(filepath.Join(out, "pause"), "/pause"),
		prometheusImage:                    c.oneProgram(c.built("prometheus"), "/bin/prometheus"),
		c.operatorImage("operator"):        c.oneProgram(c.built("prometheus-operator"), "/bin/operator"),
		c.operatorImage("config-reloader"): c.oneProgram(c.built("prometheus-config-reloader"), "/bin/prometheus-config-reloader"),
		postgresImage:                      c.postgres(),
	}
	d := dockerfile{c: c, path: filepath.Join(c.root, "deploy/docker/Dockerfile"), programs: out}
	images["ghcr.io/pg-reliability/pg_reliability_exporter:v"+version] = d.stage("exporter", image{})
	images["ghcr.io/pg-reliability/pg_reliability_backup:v"+version+"-pg17"] = d.stage("backup", images[postgresImage])

	read, write := io.Pipe()
	go func() { write.CloseWithError(archive(write, images)) }()
	cmd := exec.Command("ctr", "--address", c.containerd(), "--namespace", "k8s.io", "images", "import", "-")
	cmd.Stdin = read
	if _, err := c.output(cmd); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) appVersion() string {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.root, "deploy/helm/pg-reliability/Chart.yaml"))
	if err != nil {
		c.t.Fatal(err)
	}
	_, version, found := strings.Cut(string(text), "\nappVersion: ")
	if !found {
		c.t.Fatal("the chart has no appVersion")
	}
	return strings.Fields(version)[0]
}

// built is a program of install.sh, never another one in PATH.
func (c *cluster) built(name string) string { return filepath.Join(cacheDir(), "bin/kubernetes", name) }

func (c *cluster) oneProgram(program, path string) image {
	return image{layers: []string{c.layer(func(l *layer) { l.file(path, program, 0o755, 0) })}, user: "65534:65534",
		entrypoint: []string{path}}
}

// postgres is what the official image's entrypoint works with, made of Debian's PostgreSQL 17.
func (c *cluster) postgres() image {
	c.t.Helper()
	rootfs := filepath.Join(cacheDir(), "compose", "rootfs-1.tar")
	users := c.unpack(rootfs, "./etc/passwd", "./etc/group")
	// The image's user has the same number in Alpine's.
	for name, text := range users {
		fields := map[string]int{"./etc/passwd": 2, "./etc/group": 1}[name]
		var lines []string
		for line := range strings.Lines(text) {
			if f := strings.Split(line, ":"); f[0] == "postgres" {
				for i := range fields {
					f[2+i] = "70"
				}
				line = strings.Join(f, ":")
			}
			lines = append(lines, line)
		}
		users[name] = strings.Join(lines, "")
	}
	top := c.layer(func(l *layer) {
		for name, text := range users {
			l.text(name, text)
		}
		l.directory("/run/postgresql", 0o777, 70)
		l.directory("/var/lib/postgresql", 0o755, 70)
		l.file("/usr/local/bin/docker-entrypoint.sh", filepath.Join(c.root, "deploy/compose/standin/postgres-entrypoint.sh"), 0o755, 0)
	})
	return image{
		layers: []string{rootfs, top},
		environ: []string{"PATH=/usr/lib/postgresql/17/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"PGDATA=/var/lib/postgresql/data", "PG_MAJOR=17", "LANG=C.UTF-8"},
		entrypoint: []string{"docker-entrypoint.sh"}, commands: []string{"postgres"},
	}
}

// unpack reads files of a tar archive.
func (c *cluster) unpack(path string, names ...string) map[string]string {
	c.t.Helper()
	f, err := os.Open(path)
	if err != nil {
		c.t.Fatalf("%v. HINT: Run internal/pgtest/install.sh kubernetes", err)
	}
	defer f.Close()
	found := map[string]string{}
	for r := tar.NewReader(f); len(found) < len(names); {
		header, err := r.Next()
		if err != nil {
			c.t.Fatalf("%s has not all of %v: %v", path, names, err)
		}
		for _, name := range names {
			if header.Name == name {
				text, err := io.ReadAll(r)
				if err != nil {
					c.t.Fatal(err)
				}
				found[name] = string(text)
			}
		}
	}
	return found
}

// layer is a tar file that grows; its first error is kept.
type layer struct {
	w   *tar.Writer
	err error
}

func (c *cluster) layer(fill func(*layer)) string {
	c.t.Helper()
	f, err := os.CreateTemp(c.file("images"), "layer-")
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	l := &layer{w: tar.NewWriter(f)}
	fill(l)
	if l.err == nil {
		l.err = l.w.Close()
	}
	if l.err != nil {
		c.t.Fatalf("make an image's layer: %v", l.err)
	}
	return f.Name()
}

func (l *layer) add(header tar.Header, from io.Reader) {
	if l.err != nil {
		return
	}
	header.Name = strings.TrimLeft(header.Name, "./")
	if l.err = l.w.WriteHeader(&header); l.err == nil {
		_, l.err = io.Copy(l.w, from)
	}
}

func (l *layer) directory(name string, mode int64, owner int) {
	l.add(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: owner, Gid: owner}, strings.NewReader(""))
}

func (l *layer) text(name, text string) {
	l.add(tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}, strings.NewReader(text))
}

func (l *layer) file(name, path string, mode int64, owner int) {
	f, err := os.Open(path)
	if err != nil {
		l.err = err
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		l.err = err
		return
	}
	l.add(tar.Header{Name: name, Mode: mode, Size: info.Size(), Uid: owner, Gid: owner}, f)
}

// archive writes images as `docker save` does. Layers that several images have are written once.
func archive(to io.Writer, images map[string]image) error {
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	l := &layer{w: tar.NewWriter(to)}
	digests := map[string]string{}
	var manifest []entry
	for name, i := range images {
		e := entry{RepoTags: []string{name}}
		var differences []string
		for _, path := range i.layers {
			if digests[path] == "" {
				digest, err := digest(path)
				if err != nil {
					return err
				}
				digests[path] = digest
				l.file(digest+"/layer.tar", path, 0o644, 0)
			}
			e.Layers = append(e.Layers, digests[path]+"/layer.tar")
			differences = append(differences, "sha256:"+digests[path])
		}
		config, err := json.Marshal(map[string]any{
			"architecture": runtime.GOARCH, "os": "linux",
			"config": map[string]any{"User": i.user, "Env": i.environ, "Entrypoint": i.entrypoint, "Cmd": i.commands},
			"rootfs": map[string]any{"type": "layers", "diff_ids": differences},
		})
		if err != nil {
			return err
		}
		sum := sha256.Sum256(config)
		e.Config = hex.EncodeToString(sum[:]) + ".json"
		l.text(e.Config, string(config))
		manifest = append(manifest, e)
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	l.text("manifest.json", string(text))
	if l.err != nil {
		return l.err
	}
	return l.w.Close()
}

func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read the layer %s: %w", path, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
