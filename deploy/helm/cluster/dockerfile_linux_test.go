package cluster_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// dockerfile makes images of deploy/docker/Dockerfile without an engine: of its last stages it understands what they use.
type dockerfile struct {
	c              *cluster
	path, programs string // programs is the directory with what the stage `build` leaves in /out
}

var copied = regexp.MustCompile(`^COPY (--from=build )?(?:--chown=(\d+):\d+ )?(\S+) (\S+)$`)

// stage adds to base what a stage says.
func (d dockerfile) stage(name string, base image) image {
	t := d.c.t
	t.Helper()
	text, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(strings.ReplaceAll(string(text), "\\\n", ""), " AS "+name+"\n")
	if !found {
		t.Fatalf("%s has no stage %s", d.path, name)
	}
	rest, _, _ = strings.Cut(rest, "\nFROM ")
	made := base
	top := d.c.layer(func(l *layer) {
		for line := range strings.Lines(rest) {
			line = strings.TrimSpace(line)
			word, value, _ := strings.Cut(line, " ")
			switch word {
			case "", "#", "ARG", "LABEL", "EXPOSE", "HEALTHCHECK": // nothing that Kubernetes looks at
			case "USER":
				made.user = value
			case "ENTRYPOINT":
				made.entrypoint, made.commands = d.words(value), nil
			case "CMD":
				made.commands = d.words(value)
			case "COPY":
				d.copy(l, line)
			default:
				t.Fatalf("%s: the test does not know %q", d.path, line)
			}
		}
	})
	made.layers = append(append([]string(nil), base.layers...), top)
	return made
}

// words are those of an instruction in its form without a shell.
func (d dockerfile) words(value string) []string {
	d.c.t.Helper()
	var words []string
	if err := json.Unmarshal([]byte(value), &words); err != nil {
		d.c.t.Fatalf("%s: %q: %v", d.path, value, err)
	}
	return words
}

func (d dockerfile) copy(l *layer, line string) {
	d.c.t.Helper()
	f := copied.FindStringSubmatch(line)
	if f == nil {
		d.c.t.Fatalf("%s: the test does not know %q", d.path, line)
	}
	owner, _ := strconv.Atoi(f[2]) // root's without
	from, to := f[3], f[4]
	switch {
	case f[1] == "":
		l.file(to, filepath.Join(d.c.root, from), 0o755, owner)
	case from == "/empty":
		l.directory(to, 0o755, owner)
	case strings.HasPrefix(from, "/out/"):
		l.file(to, filepath.Join(d.programs, filepath.Base(from)), 0o755, owner)
	default: // such as the certificates that everybody trusts
		l.file(to, from, 0o644, owner)
	}
}
