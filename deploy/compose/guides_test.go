//go:build linux

package compose_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	s.clone()
	s.makeImages()
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
	// The launch guide is first, and its first block is the first `up`.
	slices.SortStableFunc(pages, func(a, b []doctest.Block) int { return cmp.Compare(starts(b), starts(a)) })
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
			if ok && strings.Contains(b.Script, firstUp) { // some runbooks look at a standby
				if out, err := s.shell(path, "docker compose --profile replica up --detach"); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
		}
	}
}

const (
	firstUp    = "make secrets\n"
	documented = "pg-reliability" // the project's name in docker-compose.yml
)

// starts is 1 for a page that begins with nothing, else 0.
func starts(page []doctest.Block) int {
	for _, b := range page {
		if b.Place == doctest.Compose && strings.Contains(b.Script, firstUp) {
			return 1
		}
	}
	return 0
}

// clone gives the project a directory as a reader has it: what the repository holds, without secrets, without .env.
func (s *stack) clone() {
	s.t.Helper()
	to := filepath.Join(s.dir, "repository")
	if out, err := output(exec.Command("bash", "-euo", "pipefail", "-c",
		`mkdir "$1" && cd "$0" && git ls-files -z | tar --create --null --files-from=- | tar --extract --directory="$1"`, s.root,
		to)); err != nil {
		s.t.Fatalf("copy the repository: %v: %s", err, out)
	}
	s.root, s.project, s.secrets = to, documented, filepath.Join(to, "secrets")
	s.settings = []string{"DOCKER_SOCKET=" + s.socket()} // of an engine elsewhere
}

// dockerAsDocumented makes a `docker` that has our Compose, and beside it our screen, as a package installs it.
func (s *stack) dockerAsDocumented() string {
	s.t.Helper()
	dir := filepath.Join(s.dir, "bin")
	script := fmt.Sprintf(`#!/usr/bin/env bash
set -euo pipefail
if [ "$1" = compose ]; then
  shift
  exec %s --progress plain "$@"
fi
exec %s "$@"
`, s.tool, s.docker)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(processes.New(s.t, s.root).Program(s.t, "pg_reliability_monitor"),
		filepath.Join(dir, "pg_reliability_monitor")); err != nil {
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
	if s.project != documented { // and with nobody's .env
		cmd.Env = append(cmd.Env, "COMPOSE_PROJECT_NAME="+s.project, "COMPOSE_DISABLE_ENV_FILE=true")
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}
