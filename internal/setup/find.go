package setup

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// Sockets are the directories where servers listen when nobody says otherwise.
func Sockets() []string { return []string{"/var/run/postgresql", "/tmp"} }

// Find is the one server that listens on this machine, as the user whose it is: of most servers the superuser of the same name,
// whom the socket lets in without a password. A port chooses among several; empty is any.
func Find(directories []string, port string) (server.Target, error) {
	var found []string
	seen := map[string]bool{}
	for _, d := range directories {
		dir, err := filepath.EvalSymlinks(d) // /var/run is /run
		if err != nil || seen[dir] {
			continue
		}
		seen[dir] = true
		sockets, _ := filepath.Glob(filepath.Join(dir, ".s.PGSQL.*"))
		for _, s := range sockets {
			n := strings.TrimPrefix(filepath.Base(s), ".s.PGSQL.")
			if _, err := strconv.ParseUint(n, 10, 16); err == nil && (port == "" || port == n) {
				found = append(found, s)
			}
		}
	}
	switch {
	case len(found) == 0:
		return server.Target{}, failure.New(failure.Connection, "no PostgreSQL server listens on this machine, in %s",
			strings.Join(directories, " or ")).
			WithHint("Start it, or name it: PGHOST, PGPORT, PGUSER and PGPASSWORD_FILE, or DATA_SOURCE_NAME, as a superuser.")
	case len(found) > 1:
		return server.Target{}, failure.New(failure.Config, "several servers listen on this machine: %s", strings.Join(found, ", ")).
			WithHint("Say which one with PGPORT.")
	}
	info, err := os.Stat(found[0])
	if err != nil {
		return server.Target{}, failure.New(failure.Connection, "look at the server's socket: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode()&os.ModeSocket == 0 {
		return server.Target{}, failure.New(failure.Connection, "%s is no socket", found[0])
	}
	owner, err := user.LookupId(strconv.FormatUint(uint64(st.Uid), 10))
	if err != nil {
		return server.Target{}, failure.New(failure.Connection, "find who owns %s: %w", found[0], err)
	}
	dir, file := filepath.Split(found[0])
	t := server.Socket(strings.TrimSuffix(dir, "/"), strings.TrimPrefix(file, ".s.PGSQL."), owner.Username, "postgres")
	return t.Dialing(dialAs(int(st.Uid))), nil
}
