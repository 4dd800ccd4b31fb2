// Package scratch makes throwaway servers: a new directory, a cluster in it that listens on a unix
// socket only, and nothing left of either in the end, also when the job is killed.
package scratch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-reliability/pg_reliability_exporter/backup/cage"
	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

const (
	prefix       = "pg_reliability_scratch-"
	ownerFile    = "owner"
	startTimeout = 5 * time.Minute // a physical backup replays WAL first
	stopTimeout  = 30 * time.Second
	port         = 5432 // the name of the socket; nothing listens on TCP
	// socketBytes is what a unix socket's path may have.
	socketBytes = 107
)

// Options of a room.
type Options struct {
	// Base is the directory to make the room in; "" means the system's for temporary files. It must
	// be reachable for the system user servers run as.
	Base string
	// Programs of the major version wanted, with initdb and postgres among them.
	Programs clients.Programs
	// NeedBytes is the room needed; less free space is an error of reason failure.Space.
	NeedBytes int64
	// MostBytes is what the room may take of the disk while Guard watches it; 0 is no limit of its own.
	MostBytes int64
	// Superuser of the cluster; "" means postgres.
	Superuser string
	// User is the system user that servers run as when this process is root, which PostgreSQL
	// refuses to be; "" means a number that owns nothing else, or, for a physical backup, postgres, or nobody.
	User string
	// Settings are added to every server started in the room, e.g. shared_preload_libraries, as
	// postgresql.conf writes values.
	Settings map[string]string
}

// Room is an empty directory of the servers' system user, and later the server in it.
type Room struct {
	Dir string

	// Patience is how long Start waits for the server; 0 means 5 minutes.
	Patience time.Duration

	opts  Options
	free  int64 // of the disk, when the room was made
	cage  cage.Cage
	cred  *syscall.Credential
	owner *os.File // locked while we live
	cmd   *exec.Cmd
	exit  chan struct{}
}

// New makes a room, after removing those that killed jobs left in the same place.
func New(ctx context.Context, o Options) (*Room, error) {
	if o.Base == "" {
		o.Base = os.TempDir()
	}
	if o.Superuser == "" {
		o.Superuser = "postgres"
	}
	Sweep(o.Base)
	free, err := catalog.FreeBytes(o.Base)
	if err != nil {
		return nil, notMade(err)
	}
	if free < o.NeedBytes {
		return nil, failure.New(failure.Space, "make a throwaway cluster in %s: %d MB are free, about %d MB are needed",
			o.Base, free>>20, o.NeedBytes>>20).WithHint("Choose another place with --scratch-dir.")
	}
	r := &Room{opts: o, free: free}
	if r.cred, err = credential(o.User); err != nil {
		return nil, err
	}
	if r.Dir, err = os.MkdirTemp(o.Base, prefix); err != nil {
		return nil, notMade(err)
	}
	if err := r.claim(); err != nil {
		return nil, errors.Join(fmt.Errorf("make a throwaway cluster: %w", err), r.Close())
	}
	r.cage = cage.Cage{Programs: o.Programs.Dir, Write: []string{r.Dir}}
	return r, nil
}

// notMade is the error of a room that could not be made, with the remedy where that is another directory.
func notMade(err error) error {
	for _, is := range []error{fs.ErrNotExist, syscall.ENOTDIR, fs.ErrPermission, syscall.EROFS} {
		if errors.Is(err, is) {
			return failure.New(failure.Config, "make a throwaway cluster: %w", err).
				WithHint("Make the directory, let this user write to it, or choose another one with --scratch-dir.")
		}
	}
	return fmt.Errorf("make a throwaway cluster: %w", err)
}

func (r *Room) claim() error {
	if n := len(r.Dir) + len("/.s.PGSQL.5432.lock"); n > socketBytes {
		return failure.New(failure.Config, "%s is too long for a unix socket's path by %d bytes", r.Dir, n-socketBytes).
			WithHint("Choose a shorter --scratch-dir.")
	}
	f, err := os.OpenFile(filepath.Join(r.Dir, ownerFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	r.owner = f
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	if r.cred != nil {
		return os.Chown(r.Dir, int(r.cred.Uid), int(r.cred.Gid))
	}
	return nil
}

// Credential is who runs programs that must be the servers' system user: name, or postgres, or
// nobody; nil when this process is not root, and so is that user itself.
func Credential(name string) (*syscall.Credential, error) { return credential(name) }

// credential is nil unless this process is root.
func credential(name string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	names := []string{name}
	if name == "" {
		names = []string{"postgres", "nobody"}
	}
	for _, n := range names {
		u, err := user.Lookup(n)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil && uid != 0 {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	if name != "" {
		return nil, failure.New(failure.Config, "there is no system user %q, other than root, to run a throwaway server as", name)
	}
	return &syscall.Credential{Uid: 65534, Gid: 65534}, nil
}

// DataDir is where the cluster's data goes: initdb's, or a physical restore's target. It does not
// exist at first.
func (r *Room) DataDir() string { return filepath.Join(r.Dir, "data") }

// Programs are those the room was made for.
func (r *Room) Programs() clients.Programs { return r.opts.Programs }

// LogFile is the server's log.
func (r *Room) LogFile() string { return filepath.Join(r.Dir, "server.log") }

// ActAs makes Target log in as another superuser than Options says: a physical backup brings its own.
func (r *Room) ActAs(superuser string) { r.opts.Superuser = superuser }

// Target leads to the server in the room as its superuser.
func (r *Room) Target() server.Target {
	client := &cage.Cage{Programs: r.opts.Programs.Dir, Read: []string{r.Dir}, Connect: true}
	return server.Socket(r.Dir, strconv.Itoa(port), r.opts.Superuser, "postgres").Caged(client)
}

// Command prepares a program to run as the servers' system user, in the room.
func (r *Room) Command(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = r.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: r.cred}
	cmd.Env = append(clients.Environ(), "HOME="+r.Dir, "TMPDIR="+r.Dir)
	return cmd
}

// Run runs a command of Command's in the cage.
func (r *Room) Run(ctx context.Context, cmd *exec.Cmd) error {
	return clients.RunBy(ctx, cmd, r.cage.Start)
}

// Init runs initdb: the locale C, so that it works wherever the programs do, and no encoding, so that roles and databases
// may have any name. Databases bring their own locale and encoding.
func (r *Room) Init(ctx context.Context) error {
	err := r.Run(ctx, r.Command(r.opts.Programs.Path("initdb"), "-D", r.DataDir(), "-U", r.opts.Superuser,
		"-A", "trust", "-E", "SQL_ASCII", "--locale=C", "--no-sync", "--no-instructions"))
	if dir := r.closed(); errors.Is(err, fs.ErrPermission) && dir != "" {
		return failure.New(failure.Config, "make a throwaway cluster: the servers' system user (number %d) may not enter %s", r.cred.Uid, dir).
			WithHint("Let it in (chmod o+x), or choose another directory with --scratch-dir.")
	}
	if err != nil {
		return fmt.Errorf("make a throwaway cluster: %w", err)
	}
	if err := r.handOver(); err != nil {
		return fmt.Errorf("make a throwaway cluster: %w", err)
	}
	return nil
}

// closed is the first directory on the way to the room that the servers' system user may not enter, as its mode says; else "".
func (r *Room) closed() string {
	if r.cred == nil {
		return ""
	}
	found := ""
	for dir := r.Dir; ; dir = filepath.Dir(dir) {
		var st unix.Stat_t
		if unix.Stat(dir, &st) == nil {
			enter := unix.S_IXOTH
			switch {
			case st.Uid == r.cred.Uid:
				enter = unix.S_IXUSR
			case st.Gid == r.cred.Gid:
				enter = unix.S_IXGRP
			}
			if int(st.Mode)&enter == 0 {
				found = dir
			}
		}
		if dir == filepath.Dir(dir) {
			return found
		}
	}
}

// Start starts the server on DataDir and waits until it accepts queries and has left recovery.
// extra settings win over the room's.
func (r *Room) Start(ctx context.Context, extra map[string]string) error {
	if err := r.launch(&r.cage, "local all all trust\nlocal replication all trust\n", extra); err != nil {
		return err
	}
	return r.waitReady(ctx, func(ctx context.Context) bool {
		recovering, err := r.recovering(ctx)
		return err == nil && !recovering
	})
}

// Recover starts the server on DataDir, lets it replay WAL until it would take connections, and shuts it down; Start follows. Its
// restore_command runs pgBackRest, whose configuration and repository may be anywhere: so this server may read whatever its user may, and
// use the network. It is nobody's door meanwhile: it lets nobody in, and runs no function of the backup's.
func (r *Room) Recover(ctx context.Context, extra map[string]string) error {
	fetching := r.cage
	fetching.AnyFile, fetching.Network = true, true
	if err := r.launch(&fetching, "local all all reject\n", extra); err != nil {
		return err
	}
	if err := r.waitReady(ctx, r.accepting); err != nil {
		return err
	}
	return r.Shutdown(ctx)
}

// accepting says whether the server has reached the state in which it takes connections, as pg_ctl learns it, without one.
func (r *Room) accepting(context.Context) bool {
	const pidLine, statusLine = 0, 7
	b, err := readPlain(filepath.Join(r.DataDir(), "postmaster.pid"))
	lines := strings.Split(string(b), "\n")
	return err == nil && len(lines) > statusLine && lines[pidLine] == strconv.Itoa(r.cmd.Process.Pid) &&
		strings.TrimSpace(lines[statusLine]) == "ready"
}

// launch starts the server in a cage.
func (r *Room) launch(in *cage.Cage, hba string, extra map[string]string) error {
	hbaFile := filepath.Join(r.Dir, "hba.conf")
	// The mode as it is, whatever the process's mask: another system user reads it.
	if err := errors.Join(os.WriteFile(hbaFile, []byte(hba), 0o644), os.Chmod(hbaFile, 0o644)); err != nil {
		return fmt.Errorf("start a throwaway server: %w", err)
	}
	settings := map[string]string{
		"listen_addresses": "", "unix_socket_directories": r.Dir, "port": strconv.Itoa(port), "hba_file": hbaFile,
		"external_pid_file": "", "logging_collector": "off", "log_destination": "stderr", "ssl": "off",
		"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "wal_level": "minimal", "max_wal_senders": "0",
		"archive_mode": "off", "autovacuum": "off",
		// A subscription of the backup's would take changes from its publisher that are meant for the server that was backed up.
		"max_logical_replication_workers": "0", "max_wal_size": "1GB", "checkpoint_timeout": "1h",
		"maintenance_work_mem": "256MB", "restart_after_crash": "off", "cluster_name": "pg_reliability_scratch",
		// Counting rows gains nothing by machine code, and a service may be forbidden to make any.
		"jit": "off",
		// What the server that was backed up could lock at once must fit here, whatever it has set.
		"max_locks_per_transaction": "1024",
		// In the room, where other kinds are in places that all processes share.
		"dynamic_shared_memory_type": "mmap",
	}
	for _, more := range []map[string]string{r.opts.Settings, extra} {
		for k, v := range more {
			settings[k] = v
		}
	}
	const eventTriggers = 17                    // has the setting
	if r.opts.Programs.Major >= eventTriggers { // one on login may write rows into the tables that are compared
		settings["event_triggers"] = "off"
	}
	args := []string{"-D", r.DataDir()}
	for k, v := range settings {
		args = append(args, "-c", k+"="+v)
	}
	log, err := os.OpenFile(r.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start a throwaway server: %w", err)
	}
	defer log.Close()
	cmd := r.Command(r.opts.Programs.Path("postgres"), args...)
	cmd.Stdout, cmd.Stderr = log, log
	// SIGQUIT: the postmaster takes its children along.
	if err := clients.Start(cmd, syscall.SIGQUIT, in.Start); err != nil {
		return fmt.Errorf("start a throwaway server: %w", err)
	}
	r.cmd, r.exit = cmd, make(chan struct{})
	go func(done chan struct{}) { _ = cmd.Wait(); close(done) }(r.exit)
	return nil
}

// waitReady waits until the server that was started is as it must be.
func (r *Room) waitReady(ctx context.Context, ready func(context.Context) bool) error {
	patience := r.Patience
	if patience == 0 {
		patience = startTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if ready(ctx) {
			return nil
		}
		select {
		case <-r.exit:
			err := fmt.Errorf("the throwaway server ended at its start: %s", r.LogTail())
			if len(r.opts.Settings) > 0 {
				return failure.New(failure.Of(err), "%w", err).WithHint("Is one of the settings wrong that --scratch-setting gave it (%s)?",
					strings.Join(slices.Sorted(maps.Keys(r.opts.Settings)), ", "))
			}
			return err
		case <-ctx.Done():
			return fmt.Errorf("the throwaway server is not ready (%w): %s", context.Cause(ctx), r.LogTail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (r *Room) recovering(ctx context.Context) (bool, error) {
	conn, err := r.Target().Connect(ctx, "postgres")
	if err != nil {
		return false, err
	}
	defer conn.Close(ctx)
	var recovering bool
	err = conn.QueryRow(ctx, "SELECT pg_catalog.pg_is_in_recovery()").Scan(&recovering)
	return recovering, err
}

// LogTail is the end of the server's log, on one line.
func (r *Room) LogTail() string {
	b, err := os.ReadFile(r.LogFile())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-6):], "; ")
}

// Running says whether the server that was started still runs.
func (r *Room) Running() bool {
	if r.cmd == nil {
		return false
	}
	select {
	case <-r.exit:
		return false
	default:
		return true
	}
}

// Shutdown ends the server cleanly, its data complete on disk; Start may follow.
func (r *Room) Shutdown(ctx context.Context) error {
	if r.cmd == nil {
		return nil
	}
	_ = r.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-r.exit:
		r.cmd = nil
		return nil
	case <-ctx.Done():
		r.Stop()
		return fmt.Errorf("shut a throwaway server down: %w", context.Cause(ctx))
	}
}

// Stop ends the server at once; its data is not for keeping.
func (r *Room) Stop() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-r.exit:
	case <-time.After(stopTimeout):
		_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
		<-r.exit
	}
	r.cmd = nil
}

// Close stops the server and removes the room.
func (r *Room) Close() error {
	r.Stop()
	err := os.RemoveAll(r.Dir)
	if r.owner != nil {
		_ = r.owner.Close()
	}
	if err != nil {
		return fmt.Errorf("remove the throwaway cluster: %w", err)
	}
	return nil
}
