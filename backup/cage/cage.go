// Package cage is where a rehearsal runs: its server, and the programs that read the backup for it. A backup may hold
// anything, and whoever owns one of its tables may have put a function there that runs as the throwaway server's
// superuser, so with all that its process may do. In the cage that is: read the system's programs and libraries and
// what it was given, write below its own directory, and talk to nobody.
//
// On Linux it is made of Landlock (files, TCP, signals), a filter of system calls (sockets), no_new_privs, no core
// dumps, and, where we are root, a user that owns nothing else or no capabilities. Each part is taken where the kernel has it;
// Missing says which are not there. Elsewhere there is none.
package cage

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Cage says what a program may do. The zero value may read the system's programs, and nothing else.
type Cage struct {
	// Programs is the directory of PostgreSQL's programs.
	Programs string
	// Read are files and directories to read; Write those to write, too.
	Read, Write []string
	// Connect is for client programs: they may connect to unix sockets that they can reach.
	Connect bool
	// Network is for pgBackRest, whose repository may be elsewhere.
	Network bool
	// AnyFile is for pgBackRest, whose configuration may be anywhere: it may read whatever its user may.
	AnyFile bool
}

// Reading is the same cage with more to read.
func (c *Cage) Reading(paths ...string) *Cage {
	more := *c
	more.Read = append(append([]string{}, c.Read...), paths...)
	return &more
}

// Lack is a part of the cage that this machine can't give.
type Lack struct {
	Part Part
	// Why says what is missing, and what the rehearsal's programs could do without it.
	Why string
}

// Part is a word of a fixed list, fit to be a metric's label.
type Part string

// The parts of the cage.
const (
	Files    Part = "files"    // reading and writing files outside
	Truncate Part = "truncate" // cutting files that may be written
	Signals  Part = "signals"  // signals to processes outside
	Network  Part = "network"  // sockets
)

// Parts lists every part.
func Parts() []Part { return []Part{Files, Truncate, Signals, Network} }

// Start starts a command in the cage. When this process dies, the command gets the signal.
func (c *Cage) Start(cmd *exec.Cmd, orphaned syscall.Signal) error { return c.start(cmd, orphaned) }

// readable are the places of the system's programs, libraries and their data. Of /etc only what libraries need: the rest
// holds the configuration of others, with their passwords.
func (c *Cage) readable() []string {
	paths := []string{
		"/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf",
		"/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/localtime", "/etc/timezone",
		"/etc/hosts", "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf", "/etc/crypto-policies", "/etc/ssl/certs", "/etc/perl", "/etc/python3",
		"/dev/zero", "/dev/urandom", "/dev/random",
	}
	paths = append(paths, filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))...)
	return append(append(paths, installations(c.Programs)...), c.Read...)
}

// installations are the directories that a directory of PostgreSQL's programs needs: its own, and those that the programs in it are
// links to.
func installations(programs string) (dirs []string) {
	if programs == "" {
		return nil
	}
	bins := []string{filepath.Clean(programs)}
	for _, name := range []string{"", "postgres", "initdb", "pg_restore", "psql"} {
		if path, err := filepath.EvalSymlinks(filepath.Join(programs, name)); err == nil {
			if name != "" {
				path = filepath.Dir(path)
			}
			bins = append(bins, path)
		}
	}
	for _, bin := range bins {
		// /opt/postgresql/17/bin has its libraries in /opt/postgresql/17/lib. What is above a shared bin is not one installation's.
		if parent := filepath.Dir(bin); filepath.Base(bin) == "bin" && parent != "/" && parent != "/usr" && parent != "/usr/local" {
			bin = parent
		}
		for _, dir := range []string{bin, sharedData(bin)} {
			if dir != "" && !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// sharedData is where Debian's layout, below whatever prefix, has the data of an installation: of PREFIX/lib/postgresql/17 it is
// PREFIX/share/postgresql/17, which the programs find from where they are themselves, too (make_relative_path in src/port/path.c).
// It is "" for an installation of another layout.
func sharedData(installation string) string {
	above, version := filepath.Split(installation)
	prefix, ok := strings.CutSuffix(above, "/lib/postgresql/")
	if !ok {
		return ""
	}
	return filepath.Join(prefix, "share", "postgresql", version)
}
