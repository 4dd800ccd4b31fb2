// Package clients finds PostgreSQL's programs of one major version on the machine, and runs programs
// so that none outlives its deadline or this process.
package clients

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Programs are the programs of one installation.
type Programs struct {
	Dir     string
	Version string // e.g. "15.18"
	Major   int
}

// Path is the path of one of the programs.
func (p Programs) Path(name string) string { return filepath.Join(p.Dir, name) }

// DefaultPatterns are where distributions put the programs, besides PATH.
func DefaultPatterns() []string {
	return []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/libexec/postgresql*", "/usr/local/pgsql/bin",
		"/opt/homebrew/opt/postgresql@*/bin", "/opt/homebrew/opt/libpq/bin", "/usr/local/opt/postgresql@*/bin",
	}
}

// Finder looks for programs.
type Finder struct {
	// Dirs are looked at first, and alone when given: directories or glob patterns. Empty means
	// DefaultPatterns and PATH.
	Dirs []string
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)((?:\.\d+)*)((?:devel|alpha|beta|rc)\d*)?`)

// ParseVersion reads what a program's --version prints, e.g.
// "pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".
func ParseVersion(line string) (version string, major int, err error) {
	m := versionPattern.FindStringSubmatch(line)
	if m == nil {
		return "", 0, fmt.Errorf("no version in %q", strings.TrimSpace(line))
	}
	major, err = strconv.Atoi(m[1])
	return m[1] + m[2] + m[3], major, err
}

// Find returns the installation of a major version that has all the programs. Where only other
// majors are there, the error is of reason failure.Version and says which: an older pg_dump refuses
// a newer server, and a newer one writes what the older server can't read back.
func (f Finder) Find(ctx context.Context, major int, programs ...string) (Programs, error) {
	var others []string
	for _, dir := range f.dirs() {
		path := filepath.Join(dir, programs[0])
		if fi, err := os.Stat(path); err != nil || fi.IsDir() || fi.Mode()&0o111 == 0 {
			continue
		}
		ask := exec.CommandContext(ctx, path, "--version")
		ask.Env = Environ()
		out, err := ask.Output()
		if err != nil {
			others = append(others, fmt.Sprintf("%s (does not run: %v)", path, err))
			continue
		}
		version, m, err := ParseVersion(string(out))
		if err != nil || m != major {
			others = append(others, fmt.Sprintf("%s (%s)", path, strings.TrimSpace(string(out))))
			continue
		}
		missing := slices.IndexFunc(programs, func(name string) bool {
			_, err := os.Stat(filepath.Join(dir, name))
			return err != nil
		})
		if missing >= 0 {
			others = append(others, fmt.Sprintf("%s (%s, without %s)", path, version, programs[missing]))
			continue
		}
		return Programs{Dir: dir, Version: version, Major: major}, nil
	}
	if ctx.Err() != nil {
		return Programs{}, ctx.Err()
	}
	found := "none of any version"
	if len(others) > 0 {
		found = "only " + strings.Join(others, ", ")
	}
	return Programs{}, failure.New(failure.Version, "the server is PostgreSQL %d, and this machine has no %s of that version: %s",
		major, strings.Join(programs, ", "), found).
		WithHint("Install the package postgresql-client-%d (for verification postgresql-%d), or name its directory with --client-dir.", major,
			major)
}

func (f Finder) dirs() []string {
	patterns := f.Dirs
	if len(patterns) == 0 {
		patterns = append(DefaultPatterns(), filepath.SplitList(os.Getenv("PATH"))...)
	}
	var dirs []string
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil || found == nil {
			continue
		}
		for _, d := range found {
			// Distributions' wrappers (/usr/bin/pg_dump) choose a version by themselves: use what they lead to.
			if !slices.Contains(dirs, d) {
				dirs = append(dirs, d)
			}
		}
	}
	return dirs
}
