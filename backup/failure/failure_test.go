package failure_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// What the process itself is short of is neither the server's fault nor the repository's.
func TestReasonsOfTheOperatingSystem(t *testing.T) {
	file := func(op string, err error) error { return &fs.PathError{Op: op, Path: "/x", Err: err} }
	for _, test := range []struct {
		err  error
		want failure.Reason
	}{
		{file("fork/exec", syscall.EAGAIN), failure.Other}, {file("fork/exec", syscall.ENOMEM), failure.Other},
		{file("fork/exec", syscall.EMFILE), failure.Other}, {file("fork/exec", syscall.EACCES), failure.Other},
		{file("open", syscall.EMFILE), failure.Other}, {os.NewSyscallError("pipe2", syscall.ENFILE), failure.Other},
		{file("open", syscall.EACCES), failure.Repository}, {file("open", syscall.EROFS), failure.Repository},
		{file("read", syscall.EIO), failure.Repository}, {file("write", syscall.ENOSPC), failure.Space},
		{&net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, failure.Connection},
		{errors.New("x"), failure.Other},
	} {
		if got := failure.Of(fmt.Errorf("start a program: %w", test.err)); got != test.want {
			t.Errorf("%v: %s, want %s", test.err, got, test.want)
		}
	}
}
