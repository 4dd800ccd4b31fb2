package main

import (
	"os"
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
