package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Launch starts the server on its data directory and waits until it accepts a query.
func (c *Cluster) Launch(ctx context.Context) error {
	if err := c.LaunchNoWait(); err != nil {
		return err
	}
	return c.WaitReady(ctx)
}

// LaunchNoWait starts the server and returns at once.
func (c *Cluster) LaunchNoWait() error {
	log, err := os.OpenFile(c.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	defer log.Close()
	cmd := Command(c.Install.Bin("postgres"), "-D", c.DataDir(), "-p", strconv.Itoa(c.Port))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(cmd.Env, c.env...)
	if err := Spawn(cmd); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	c.mu.Lock()
	c.cmd, c.exited = cmd, exited
	c.mu.Unlock()
	return nil
}

// WaitReady waits until the server answers a query, or has exited, or a minute is over (see Patience).
func (c *Cluster) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Patience(startTimeout))
	defer cancel()
	for {
		attempt, stop := context.WithTimeout(ctx, Patience(5*time.Second))
		conn, err := pgx.Connect(attempt, c.DSN(Superuser, "postgres"))
		if err == nil {
			_, err = conn.Exec(attempt, "SELECT 1", pgx.QueryExecModeSimpleProtocol)
			_ = conn.Close(attempt)
		}
		stop()
		if err == nil {
			return nil
		}
		select {
		case <-c.Exited():
			return fmt.Errorf("the server exited at its start:\n%s", lastLines(c.Log(), 10))
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w:\n%s", err, lastLines(c.Log(), 10))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Exited is closed when the postmaster is gone.
func (c *Cluster) Exited() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exited == nil {
		gone := make(chan struct{})
		close(gone)
		return gone
	}
	return c.exited
}

// PID is the postmaster's process id, 0 when it was never started.
func (c *Cluster) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return 0
	}
	return c.cmd.Process.Pid
}

// Stop is `pg_ctl stop -m fast`.
func (c *Cluster) Stop() error { return c.StopWith(syscall.SIGINT) }

// StopWith sends the postmaster a signal (TERM smart, INT fast, QUIT immediate) and waits for its end.
func (c *Cluster) StopWith(s syscall.Signal) error {
	if err := syscall.Kill(c.PID(), s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal the postmaster: %w", err)
	}
	select {
	case <-c.Exited():
		return nil
	case <-time.After(Patience(startTimeout)):
		return errors.New("the server does not stop")
	}
}

// Restart is `pg_ctl restart -m fast`.
func (c *Cluster) Restart(ctx context.Context) error {
	if err := c.Stop(); err != nil {
		return err
	}
	return c.Launch(ctx)
}

// Reload is `pg_ctl reload`.
func (c *Cluster) Reload() error { return syscall.Kill(c.PID(), syscall.SIGHUP) }

// KillServer sends SIGKILL to the postmaster and everything it started, and waits for the end.
func (c *Cluster) KillServer() {
	all := c.Processes()
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	c.AwaitEnd(all)
}

// AwaitEnd waits for the end of a killed server, and of its processes: shared memory is free once the last one is gone.
func (c *Cluster) AwaitEnd(processes []int) {
	<-c.Exited()
	for _, pid := range processes {
		for deadline := time.Now().Add(Patience(5 * time.Second)); syscall.Kill(pid, 0) == nil && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// KillBackend sends SIGKILL to one session's process, upon which the server throws out all others
// and recovers: a crash without a restart of the postmaster. It returns when the server is back.
func (c *Cluster) KillBackend(ctx context.Context) error {
	conn, err := c.Connect(ctx, "postgres")
	if err != nil {
		return err
	}
	pid := int(conn.PgConn().PID())
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill backend %d: %w", pid, err)
	}
	_, _ = conn.Exec(ctx, "SELECT pg_sleep(10)") // returns when the crash cuts the session
	return c.WaitReady(ctx)
}

// Processes lists the postmaster and all its children, postmaster first.
func (c *Cluster) Processes() []int {
	root := c.PID()
	if root == 0 {
		return nil
	}
	pids := []int{root}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		text := string(b)
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if len(fields) > 1 && fields[1] == strconv.Itoa(root) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// Pause stops every process of the server (SIGSTOP): it accepts connections and never answers.
func (c *Cluster) Pause() { c.signalAll(syscall.SIGSTOP) }

// Resume lets a paused server go on (SIGCONT).
func (c *Cluster) Resume() { c.signalAll(syscall.SIGCONT) }

func (c *Cluster) signalAll(s syscall.Signal) {
	for _, pid := range c.Processes() {
		_ = syscall.Kill(pid, s)
	}
}

// Standby starts a streaming replica: a cold copy of this cluster's data directory, so that it
// works also where a version's pg_basebackup is not installed. This cluster restarts for it.
func (c *Cluster) Standby(ctx context.Context) (*Cluster, error) { return c.StandbyIn(ctx, "") }

// StandbyIn is Standby in a directory of the caller's; empty is a new one, removed by Close.
func (c *Cluster) StandbyIn(ctx context.Context, dir string) (*Cluster, error) {
	s, err := prepare(Options{Install: c.Install, Dir: dir})
	if err != nil {
		return nil, err
	}
	if err := c.Stop(); err != nil {
		return nil, err
	}
	if out, err := exec.Command("cp", "-a", c.DataDir(), s.DataDir()).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy the data directory: %w: %s", err, out)
	}
	if err := c.Launch(ctx); err != nil {
		return nil, err
	}
	err = s.Configure(map[string]string{
		"unix_socket_directories":     "'" + s.Dir + "'",
		"primary_conninfo":            fmt.Sprintf("'host=127.0.0.1 port=%d user=%s application_name=standby'", c.Port, Superuser),
		"wal_retrieve_retry_interval": "'100ms'",
	})
	if err != nil {
		return nil, err
	}
	if err := s.WriteFile("standby.signal", nil); err != nil {
		return nil, fmt.Errorf("write standby.signal: %w", err)
	}
	_ = os.Remove(filepath.Join(s.DataDir(), "postmaster.pid"))
	if err := s.Launch(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Promote makes a standby a primary and waits until it accepts writes.
func (c *Cluster) Promote(ctx context.Context) error {
	ok, err := c.Query(ctx, "postgres", fmt.Sprintf("pg_promote(true, %d)", int(Patience(30*time.Second).Seconds())))
	if err == nil && ok != "true" {
		err = errors.New("pg_promote timed out")
	}
	return err
}
