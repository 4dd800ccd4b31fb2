//go:build linux

package compose_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// The socket's group goes into .env once, on a line of its own.
func TestSecretsLeaveTheSettingsWhole(t *testing.T) {
	root := t.TempDir()
	script := filepath.Join(root, "deploy/compose/secrets.sh")
	if err := os.MkdirAll(filepath.Dir(script), 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("secrets.sh")
	if err != nil {
		t.Fatal(err)
	}
	env := filepath.Join(root, ".env")
	if err := errors.Join(os.WriteFile(script, text, 0o755), os.WriteFile(env, []byte("GRAFANA_PORT=3001"), 0o600)); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(root, "docker.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for range 2 {
		cmd := exec.Command(script)
		cmd.Env = append(os.Environ(), "DOCKER_SOCKET="+socket)
		if out, err := output(cmd); err != nil {
			t.Fatalf("secrets.sh: %v: %s", err, out)
		}
	}
	got, err := os.ReadFile(env)
	if err != nil || !regexp.MustCompile(`^GRAFANA_PORT=3001\nDOCKER_GID=\d+\n$`).Match(got) {
		t.Errorf(".env is %q, %v", got, err)
	}
}

func TestSecretsAreMadeOnceAndReadableInsideAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	read := func() map[string]string {
		t.Helper()
		if out, err := output(exec.Command("./secrets.sh", dir)); err != nil {
			t.Fatalf("secrets.sh: %v: %s", err, out)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*_password"))
		if err != nil {
			t.Fatal(err)
		}
		made := map[string]string{}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(f); err != nil || info.Mode() != 0o444 {
				t.Errorf("%s: %v, %v: a container's user could not read it, or could change it", f, info.Mode(), err)
			}
			made[filepath.Base(f)] = string(text)
		}
		return made
	}
	first := read()
	if len(first) != 6 {
		t.Errorf("made %v", first)
	}
	seen := map[string]bool{}
	for name, secret := range first {
		if !regexp.MustCompile(`^[0-9a-f]{48}$`).MatchString(secret) || seen[secret] {
			t.Errorf("%s is %q", name, secret)
		}
		seen[secret] = true
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory is open to others: %v, %v", info.Mode(), err)
	}
	if err := os.Remove(filepath.Join(dir, "app_password")); err != nil {
		t.Fatal(err)
	}
	second := read()
	for name, secret := range first {
		if kept := second[name] == secret; kept == (name == "app_password") {
			t.Errorf("%s after a second run: kept %v", name, kept)
		}
	}
}
