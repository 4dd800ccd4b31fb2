package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Exit codes; docs/backup.md has the same table.
const (
	exitOK         = 0
	exitOther      = 1 // also: healthcheck is unhealthy
	exitConfig     = 2
	exitConnection = 3
	exitDump       = 4
	exitVerify     = 5
	exitSpace      = 6
	exitLocked     = 7
	exitVersion    = 8
	exitRefused    = 9
	exitNothing    = 10
	exitInterrupt  = 11
	exitRepository = 12
	exitTimeout    = 13
	exitOffsite    = 14
	exitRestore    = 15
	exitIncomplete = 16
)

// exits says what each code means, in order.
func exits() []struct {
	code    int
	meaning string
	reasons []failure.Reason
} {
	return []struct {
		code    int
		meaning string
		reasons []failure.Reason
	}{
		{exitOK, "done", nil},
		{exitOther, "another error, or healthcheck found the backups too old", []failure.Reason{failure.Other, failure.Stale, failure.Killed}},
		{exitConfig, "config: a flag, variable or file is wrong; nothing was tried", []failure.Reason{failure.Config}},
		{exitConnection, "connection: the server can't be reached, refuses the login, or went away", []failure.Reason{failure.Connection}},
		{exitDump, "dump: the backup could not be made (also: a privilege is missing, a table stayed locked)",
			[]failure.Reason{failure.Dump, failure.Permission, failure.LockTimeout}},
		{exitVerify, "verify: a backup is not what its manifest says", []failure.Reason{failure.Verify}},
		{exitSpace, "space: the disk is full, or would be", []failure.Reason{failure.Space}},
		{exitLocked, "locked: another job works on the same repository or server", []failure.Reason{failure.Locked}},
		{exitVersion, "version mismatch: no client programs of the server's major version, or too old a server",
			[]failure.Reason{failure.Version}},
		{exitRefused, "refused target: it holds something that is not replaced", []failure.Reason{failure.Refused}},
		{exitNothing, "nothing to restore: no matching backup", []failure.Reason{failure.Nothing}},
		{exitInterrupt, "interrupted by a signal", []failure.Reason{failure.Interrupted}},
		{exitRepository, "repository: missing, unmounted or unreadable", []failure.Reason{failure.Repository}},
		{exitTimeout, "timeout: the deadline passed", []failure.Reason{failure.Timeout}},
		{exitOffsite, "off-site: the copy failed; the local backup is good", []failure.Reason{failure.Offsite}},
		{exitRestore, "restore: it failed midway, or the login lacks a privilege for it; the original is untouched",
			[]failure.Reason{failure.Restore}},
		{exitIncomplete, "incomplete: the backup was published, and lacks a database that was asked for", []failure.Reason{failure.Incomplete}},
	}
}

// exitCode is that of a command's error. What the dump's code says of a backup, the restore's says where none is made.
func exitCode(command string, err error) int {
	reason := failure.Of(err)
	for _, e := range exits() {
		if !slices.Contains(e.reasons, reason) {
			continue
		}
		if e.code == exitDump && (command == "restore" || command == "bootstrap") {
			return exitRestore
		}
		return e.code
	}
	return exitOther
}

func exitHelp() string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, e := range exits() {
		fmt.Fprintf(&b, "%4d  %s\n", e.code, e.meaning)
	}
	return b.String()
}
