package scratch

import (
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Ids that no account has by rule: from them, systemd too takes users that live as long as a service.
// https://systemd.io/UIDS-GIDS/
const (
	firstFree = 61184
	lastFree  = 65519
)

// handOver gives the room, where we are root and no user was chosen, to a user that has nothing else: the account postgres
// may well read the production server's files, and log in to it. (initdb before needs an account with a name.)
func (r *Room) handOver() error {
	if r.cred == nil || r.opts.User != "" {
		return nil
	}
	id, ok := freeID()
	if !ok {
		return nil
	}
	err := filepath.WalkDir(r.Dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == filepath.Join(r.Dir, ownerFile) {
			return err
		}
		return os.Lchown(path, id, id)
	})
	if err != nil {
		return err
	}
	r.cred = &syscall.Credential{Uid: uint32(id), Gid: uint32(id)}
	return nil
}

// freeID is a user's number that has no account, and no process at the moment.
func freeID() (int, bool) {
	taken := map[uint32]bool{}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(processes) == 0 {
		return 0, false // can't be told
	}
	for _, p := range processes {
		if fi, err := os.Lstat(p); err == nil {
			if st, ok := fi.Sys().(*syscall.Stat_t); ok {
				taken[st.Uid] = true
			}
		}
	}
	for i := range lastFree - firstFree {
		id := firstFree + (os.Getpid()+i)%(lastFree-firstFree)
		if _, err := user.LookupId(strconv.Itoa(id)); err != nil && !taken[uint32(id)] {
			return id, true
		}
	}
	return 0, false
}
