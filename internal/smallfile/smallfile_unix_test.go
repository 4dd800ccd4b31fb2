//go:build unix

package smallfile

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestNoNameHangsOrFillsTheMemory(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(in("file"), []byte("secret\n"), 0o600))
	must(os.WriteFile(in("large"), nil, 0o600))
	must(os.Truncate(in("large"), 1<<40))
	must(syscall.Mkfifo(in("pipe"), 0o600))
	must(syscall.Mkfifo(in("held"), 0o600))
	held, err := os.OpenFile(in("held"), os.O_RDWR, 0) // somebody who may write, and does not
	must(err)
	t.Cleanup(func() { held.Close() }) // after the parallel ones
	for name, want := range map[string]string{
		in("file"): "", in("large"): "longer than", in("pipe"): "nobody writes to it", in("held"): "nobody wrote all of it",
		"/dev/zero": "longer than", dir: "is a directory", in("none"): "no such file",
	} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			b, err := Read(name)
			if want == "" {
				if string(b) != "secret\n" || err != nil || Check(name) != nil {
					t.Errorf("%q, %v, %v", b, err, Check(name))
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), want) || time.Since(began) > 4*patience {
				t.Errorf("%d bytes after %s: %v", len(b), time.Since(began), err)
			}
			if (Check(name) == nil) != (name == in("none")) {
				t.Errorf("who else reads it is told: %v", Check(name))
			}
		})
	}
}

func TestAPipeThatSomebodyWritesToIsRead(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		time.Sleep(50 * time.Millisecond)
		_, _ = w.WriteString("from a pipe")
		w.Close()
	}()
	b, err := Read("/dev/fd/" + strconv.Itoa(int(r.Fd())))
	if err != nil || string(b) != "from a pipe" {
		t.Errorf("%q, %v", b, err)
	}
}
