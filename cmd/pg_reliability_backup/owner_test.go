package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRootLeavesNothingInAnotherUsersRepository(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	dir := t.TempDir()
	invoke := func(args ...string) (int, string) {
		var out strings.Builder
		env := func(name string) (string, bool) {
			return "host=/nonexistent user=u dbname=d", name == "DATA_SOURCE_NAME"
		}
		code := run(t.Context(), append(args, "--repository="+dir), env, &out, &out)
		return code, out.String()
	}
	if code, out := invoke("init"); code != exitOK {
		t.Fatal(out)
	}
	if err := os.Chown(dir, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"run", "prune", "verify", "init"} {
		code, out := invoke(command)
		if code != exitConfig || !strings.Contains(out, "belongs to user 12345") || !strings.Contains(out, "sudo -u '#12345'") {
			t.Errorf("%s: %d, %s", command, code, out)
		}
	}
	if code, out := invoke("list"); code != exitOK {
		t.Errorf("list: %d, %s", code, out)
	}
	if err := refuseRoot(dir, 12345); err != nil {
		t.Error(err)
	}
}

// TestARepositoryThatOthersMayEnterIsSaid: what brought it here, or a chmod -R, may have opened it.
func TestARepositoryThatOthersMayEnterIsSaid(t *testing.T) {
	dir := t.TempDir()
	invoke := func(args ...string) string {
		var out strings.Builder
		env := func(name string) (string, bool) {
			if name != "DATA_SOURCE_NAME" {
				return "", false
			}
			return "host=/nonexistent user=u dbname=d", true
		}
		_ = run(t.Context(), append(args, "--repository="+dir), env, &out, &out)
		return out.String()
	}
	invoke("init")
	const says = "other users of this machine may enter the repository"
	if out := invoke("run"); !strings.Contains(out, "connection") || strings.Contains(out, says) {
		t.Fatalf("a repository as it was made: %s", out)
	}
	for _, open := range []string{dir, filepath.Join(dir, "backups")} {
		if out := invoke("run"); strings.Contains(out, says) {
			t.Errorf("nobody else can enter the backups: %s", out)
		}
		if err := os.Chmod(open, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out := invoke("run"); !strings.Contains(out, says) || !strings.Contains(out, "chmod -R go-rwx "+dir) {
		t.Errorf("everybody can enter the backups: %s", out)
	}
}
