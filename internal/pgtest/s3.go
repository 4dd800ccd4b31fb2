package pgtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Keys of the one account that an S3 server of NewS3 has.
const (
	S3AccessKey = "AKIATESTTESTTEST"
	S3SecretKey = "very/secret+key=of-the-test"
)

// S3 is a server that speaks S3 (versitygw), a process of its own. Objects are files below Dir.
type S3 struct {
	Dir string // a directory a bucket
	// Addr is host:port.
	Addr string

	meta string
	cmd  *exec.Cmd
}

// NewS3 starts a server with buckets of the given names, and stops it at the test's end.
func NewS3(t testing.TB, buckets ...string) *S3 {
	t.Helper()
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &S3{Addr: fmt.Sprintf("127.0.0.1:%d", port), Dir: filepath.Join(dir, "buckets"), meta: filepath.Join(dir, "meta")}
	for _, d := range append([]string{"."}, buckets...) {
		if err := os.Mkdir(filepath.Join(s.Dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(s.meta, 0o700); err != nil {
		t.Fatal(err)
	}
	s.Start(t)
	t.Cleanup(s.Kill)
	return s
}

// Start starts the server again after Kill.
func (s *S3) Start(t testing.TB) {
	t.Helper()
	path, err := Tool("versitygw", "s3")
	if err != nil {
		t.Fatal(err)
	}
	// Metadata beside the objects: not every file system has extended attributes.
	cmd := exec.Command(path, "--port", s.Addr, "--quiet", "posix", "--sidecar", s.meta, s.Dir)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+S3AccessKey, "ROOT_SECRET_KEY="+S3SecretKey)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if err := Spawn(cmd); err != nil {
		t.Fatal(err)
	}
	s.cmd = cmd
	Eventually(t, 20*time.Second, func() error {
		c, err := net.Dial("tcp", s.Addr)
		if err == nil {
			err = c.Close()
		}
		return err
	})
}

// Kill ends the server as a power cut does.
func (s *S3) Kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// Freeze stops the server (SIGSTOP): it accepts connections and never answers. Thaw lets it go on.
func (s *S3) Freeze() { _ = s.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw ends a Freeze.
func (s *S3) Thaw() { _ = s.cmd.Process.Signal(syscall.SIGCONT) }
