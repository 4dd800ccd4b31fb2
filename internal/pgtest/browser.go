package pgtest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
)

// Browser finds Chromium, and axe-core's script, which looks for what hinders people with disabilities.
func Browser() (chromium, axe string, err error) {
	axe = filepath.Join(cacheDir(), "axe-core", "axe.min.js")
	if _, err := os.Stat(axe); err != nil {
		return "", "", errors.New("axe-core is not installed. HINT: Run internal/pgtest/install.sh browser")
	}
	for _, name := range []string{
		"chromium", "chromium-browser", "google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
	} {
		if path, err := exec.LookPath(name); err == nil {
			return path, axe, nil
		}
	}
	return "", "", errors.New("no Chromium is installed. HINT: Run internal/pgtest/install.sh browser")
}
