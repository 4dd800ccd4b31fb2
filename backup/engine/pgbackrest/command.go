package pgbackrest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/scratch"
)

// Exit codes of pgBackRest that have a meaning of their own here; they are its error numbers.
const (
	codeChecksum         = 26
	codeFileInvalid      = 28
	codeFormat           = 29
	codeOptionInvalid    = 31
	codeOptionValue      = 32
	codeOptionRequired   = 37
	codePostgresRuns     = 38
	codePathNotEmpty     = 40
	codeFileOpen         = 41
	codeLock             = 50
	codeBackupMismatch   = 51
	codePathOpen         = 53
	codeFileMissing      = 55
	codeDBConnect        = 56
	codeDBMismatch       = 58
	codeStopped          = 62
	codeTerminated       = 63
	codeArchiveCommand   = 68
	codeBackupSetInvalid = 75
	codeArchiveTimeout   = 82
	codeArchiveDisabled  = 87
	codeCrypto           = 95
)

// retainAll keeps pgBackRest from expiring anything by itself, and from warning that it does not.
const retainAll = "9999999"

// program finds the executable.
func (e *Engine) program() (string, error) {
	name := e.Program
	if name == "" {
		name = "pgbackrest"
	}
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return "", failure.New(failure.Config, "pgBackRest is not on this machine: %w", err).
			WithHint("Install the package pgbackrest, or name the program with --pgbackrest-program.")
	}
	return path, nil
}

// args are the command and the options it always takes.
func (e *Engine) args(command string, more ...string) []string {
	args := []string{command, "--stanza=" + e.Stanza}
	if e.Config != "" {
		args = append(args, "--config="+e.Config)
	}
	if e.Repo > 0 && command != "verify" { // verify knows no other repository than the first
		args = append(args, "--repo="+strconv.Itoa(e.Repo))
	}
	// What it has to say goes to stderr, without times: into our errors.
	args = append(args, "--log-level-console=off", "--log-level-stderr=error", "--log-timestamp=n")
	return append(args, more...)
}

// run runs a command as the server's system user and returns what it printed.
func (e *Engine) run(ctx context.Context, command string, more ...string) ([]byte, error) {
	if e.Stanza == "" {
		return nil, failure.New(failure.Config, "no stanza of pgBackRest is named").
			WithHint("Give --pgbackrest-stanza, or set PG_RELIABILITY_BACKUP_PGBACKREST_STANZA.")
	}
	path, err := e.program()
	if err != nil {
		return nil, err
	}
	cred, err := scratch.Credential(e.User)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	cmd := exec.Command(path, e.args(command, more...)...)
	cmd.Dir = "/" // a directory of root's may not be entered by the other user
	// Its repository's keys may come by a token of the cloud, its repository host by ssh.
	cmd.Env = clients.Environ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "SSH_AUTH_SOCK")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	cmd.Stdout = &out
	if err := clients.Run(ctx, cmd); err != nil {
		return out.Bytes(), e.explain(command, err)
	}
	return out.Bytes(), nil
}

// exitCode is the exit code of a program that ended by itself, else -1.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// oneLine is an error with pgBackRest's indented lines set in one.
type oneLine struct{ error }

func (o oneLine) Error() string {
	return strings.Join(strings.Fields(strings.ReplaceAll(o.error.Error(), ";  ", "  ")), " ")
}

func (o oneLine) Unwrap() error { return o.error }

// explain gives an error of pgBackRest its reason and, beside pgBackRest's own hints, ours.
func (e *Engine) explain(command string, err error) error {
	err = fmt.Errorf("stanza %s: %s: %w", e.Stanza, command, oneLine{err})
	fail := func(r failure.Reason, hint string, args ...any) error {
		f := failure.New(r, "%w", err)
		if hint != "" {
			f = f.WithHint(hint, args...)
		}
		return f
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err // who cancelled says why
	}
	if errors.Is(err, fs.ErrPermission) {
		return fail(failure.Config, "May this program's system user run pgBackRest?")
	}
	if strings.Contains(err.Error(), "No space left on device") {
		return fail(failure.Space, "Free space in pgBackRest's repository, or `prune`.")
	}
	switch code := exitCode(err); code {
	case codeLock:
		return fail(failure.Locked, "Wait for the other pgBackRest to end; `pgbackrest info` says whether a backup runs.")
	case codeOptionRequired:
		return fail(failure.Config, "Is stanza %s in pgBackRest's configuration, with pg1-path? See --pgbackrest-stanza and --pgbackrest-config.",
			e.Stanza)
	case codeOptionInvalid, codeOptionValue:
		return fail(failure.Config, "See pgBackRest's configuration, and --pgbackrest-option.")
	case codeFileMissing:
		if command == "backup" {
			return fail(failure.Config, "Make the stanza once: pgbackrest --stanza=%s stanza-create.", e.Stanza)
		}
	case codeBackupMismatch, codeDBMismatch:
		return fail(failure.Config, "The stanza belongs to another server, or to this one before an upgrade: pgbackrest --stanza=%s "+
			"stanza-upgrade.", e.Stanza)
	case codeDBConnect:
		return fail(failure.Connection, "pgBackRest connects by itself, as pg1-socket-path, pg1-port and pg1-user in its configuration say.")
	case codeArchiveCommand, codeArchiveDisabled:
		return fail(failure.Config, "Set archive_mode = on (restart) and archive_command = 'pgbackrest --stanza=%s archive-push %%p' on the "+
			"server.", e.Stanza)
	case codeArchiveTimeout:
		return fail(failure.Dump, "WAL does not reach the archive: see the server's log and pg_stat_archiver for why archive_command fails.")
	case codeStopped:
		return fail(failure.Locked, "Somebody ran `pgbackrest stop`; `pgbackrest --stanza=%s start` allows it again.", e.Stanza)
	case codeFileOpen, codePathOpen:
		if command == "restore" {
			return fail(failure.Config, "May the system user that pgBackRest runs as (--pgbackrest-user) reach the target directory, and its "+
				"repository?")
		}
		return fail(failure.Repository, "May the system user that pgBackRest runs as (--pgbackrest-user) read its repository?")
	case codePostgresRuns, codePathNotEmpty:
		return fail(failure.Refused, "Nothing was changed: choose an empty directory.")
	case codeTerminated:
		return fail(failure.Interrupted, "")
	}
	if command == "backup" {
		return fail(failure.Dump, "")
	}
	return err
}

// damaged says that a restore failed because of what the repository holds, and not because of this machine.
func damaged(err error) bool {
	switch exitCode(err) {
	case codeChecksum, codeFileInvalid, codeFormat, codeFileMissing, codeBackupSetInvalid, codeCrypto:
		return true
	}
	return false
}
