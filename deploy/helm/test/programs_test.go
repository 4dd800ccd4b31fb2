package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// programsDir has the exporter and the backup job of this tree, once a test asked for them.
var programsDir string

func TestMain(m *testing.M) {
	code := m.Run()
	if programsDir != "" {
		_ = os.RemoveAll(programsDir)
	}
	os.Exit(code)
}

func programs(t *testing.T) string {
	t.Helper()
	if programsDir != "" {
		return programsDir
	}
	dir, err := os.MkdirTemp("", "programs-")
	if err != nil {
		t.Fatal(err)
	}
	programsDir = dir
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "./cmd/pg_reliability_exporter", "./cmd/pg_reliability_backup")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

func TestFlagsAreTheProgramsOwn(t *testing.T) {
	dir := programs(t)
	known := map[string]map[string]bool{}
	flags := func(program string, command ...string) map[string]bool {
		id := program + strings.Join(command, " ")
		if known[id] == nil {
			help := "--help"
			if len(command) == 0 {
				help = "--help-long" // the other leaves out the flags of single collectors
			}
			out, err := exec.CommandContext(t.Context(), filepath.Join(dir, program), append(command, help)...).CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", id, err, out)
			}
			known[id] = map[string]bool{}
			for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?--(\[no-\])?([\w.-]+)`).FindAllStringSubmatch(string(out), -1) {
				known[id]["--"+m[2]] = true
				if m[1] != "" {
					known[id]["--no-"+m[2]] = true
				}
			}
		}
		return known[id]
	}
	checked := 0
	eachValues(t, func(t *testing.T, found objects) {
		for id, pod := range found.pods() {
			for _, c := range pod.Spec.Containers {
				args := c.Args
				var have map[string]bool
				if c.Name == "backup" {
					have, args = flags("pg_reliability_backup", c.Args[0]), c.Args[1:]
				} else {
					have = flags("pg_reliability_exporter")
				}
				for _, arg := range args {
					name, _, _ := strings.Cut(arg, "=")
					if !have[name] {
						t.Errorf("%s: the program has no flag %s", id, name)
					}
					checked++
				}
			}
		}
	})
	if checked < 50 {
		t.Errorf("%d flags were checked", checked)
	}
}
