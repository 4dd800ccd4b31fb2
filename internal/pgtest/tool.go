package pgtest

import (
	"fmt"
	"os/exec"
	"path/filepath"
)

// Tool finds a program that install.sh puts on the machine: in PATH, or where it builds programs of
// its own. part is install.sh's name for it, for the error.
func Tool(name, part string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	if path := filepath.Join(cacheDir(), "bin", name); executable(path) {
		return path, nil
	}
	return "", fmt.Errorf("%s is not installed. HINT: Run internal/pgtest/install.sh %s", name, part)
}
