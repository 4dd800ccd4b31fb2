//go:build linux

package compose_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

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
