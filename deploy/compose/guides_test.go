//go:build linux

package compose_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/doctest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	processes "github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

const guidesSwitch = "PG_RELIABILITY_DOCS"

// TestGuides runs the commands that the guides and runbooks give for compose, in an engine of the test's own, with everything up.
func TestGuides(t *testing.T) {
	if os.Getenv(guidesSwitch) != "1" {
		t.Skipf("the guides' commands are run in a Docker engine of the test's own when %s=1", guidesSwitch)
	}
	s := newStack(newEngine(t))
	s.makeImages()
	s.mustCompose("build")
	s.mustCompose("--profile", "replica", "up", "--detach")
	pgtest.Eventually(t, 5*time.Minute, s.unhealthy)
	path := s.dockerAsDocumented()
	var pages [][]doctest.Block
	for _, guide := range doctest.Guides() {
		blocks, err := doctest.Blocks(filepath.Join(s.root, guide))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, blocks)
	}
	books, err := doctest.Runbooks(s.root)
	if err != nil {
		t.Fatal(err)
	}
	for _, book := range books {
		pages = append(pages, book.Blocks)
	}
	for _, blocks := range pages {
		for _, b := range blocks {
			if b.Place != doctest.Compose {
				continue
			}
			ok := t.Run(b.Name(), func(t *testing.T) {
				began := time.Now()
				out, err := s.shell(path, b.Setup+b.Script)
				if err != nil {
					t.Fatalf("%s\n%v\n%s", b.Script, err, out)
				}
				if missing := b.Missing(out); missing != "" {
					t.Errorf("%s\nthe output has no %q:\n%s", b.Script, missing, out)
				}
				t.Logf("%.1f s\n%s", time.Since(began).Seconds(), out)
				// What a guide does next begins with a server that is up again.
				pgtest.Eventually(t, 5*time.Minute, s.unhealthy)
			})
			if !ok {
				s.explain()
			}
		}
	}
}

// dockerAsDocumented makes a `docker` whose `compose` is this test's project: as in the guides without flags, and its
// volumes and containers with the documented names. Beside it is our screen, as a package installs it.
func (s *stack) dockerAsDocumented() string {
	s.t.Helper()
	dir := filepath.Join(s.dir, "bin")
	script := fmt.Sprintf(`#!/usr/bin/env bash
set -euo pipefail
arguments=("${@//pg-reliability_/%[1]s_}")
arguments=("${arguments[@]//pg-reliability-/%[1]s-}")
if [ "$1" = compose ]; then
  exec %[2]s --project-name %[1]s --env-file /dev/null --progress plain "${arguments[@]:1}"
fi
exec %[3]s "${arguments[@]}"
`, s.project, s.tool, s.docker)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(processes.New(s.t, s.root).Program(s.t, "pg_reliability_monitor"), filepath.Join(dir, "pg_reliability_monitor")); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

// shell runs a script as a reader does, in the directory of docker-compose.yml, on the engine's host.
func (s *stack) shell(path, script string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", "--net=/run/netns/"+s.namespace, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = s.root
	cmd.Env = append(append(s.environ(), s.settings...), "PATH="+path+":"+os.Getenv("PATH"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}
