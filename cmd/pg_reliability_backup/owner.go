package main

import (
	"os"
	"os/user"
	"strconv"
	"syscall"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// readingCommands leave a repository as it is.
func readingCommands() []string { return []string{"list", "show", "healthcheck"} }

// refuseRoot refuses to write as root into a repository that is another user's: its service could not read what root leaves
// there, and would fail from then on.
func refuseRoot(dir string, euid int) error {
	fi, err := os.Stat(dir)
	if err != nil || euid != 0 {
		return nil //nolint:nilerr // who opens it says why it can't be read
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || st.Uid == 0 {
		return nil
	}
	owner := strconv.FormatUint(uint64(st.Uid), 10)
	name := "'#" + owner + "'"
	if u, err := user.LookupId(owner); err == nil {
		owner, name = u.Username, u.Username
	}
	return failure.New(failure.Config, "repository %s belongs to user %s, and this is root: that user's service could not read the files "+
		"that root leaves there",
		dir, owner).WithHint("Run the command as that user: sudo -u %s pg_reliability_backup ... (in a container: --user).", name)
}
