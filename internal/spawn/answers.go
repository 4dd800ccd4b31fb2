package spawn

import (
	"context"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/smallfile"
)

// answersWithin is how long the file of a program may take to be opened.
const answersWithin = 5 * time.Second

// files are programs that were started; it keeps readings that hang from piling up.
type files struct{ turns sync.Map } // by path: *smallfile.Turn

// answer is an error where a program's file hangs, as on a dead mount. Between fork and exec the whole process waits for the kernel to open
// that file, and every goroutine with it; so it is opened here first, where nobody else waits. Whatever else is wrong with the file, the
// start says.
func (f *files) answer(path string) error {
	turn, _ := f.turns.LoadOrStore(path, &smallfile.Turn{})
	ctx, cancel := context.WithTimeout(context.Background(), answersWithin)
	defer cancel()
	_, err := smallfile.Within(ctx, turn.(*smallfile.Turn), path, func() (struct{}, error) { //nolint:forcetypeassert // nothing else is stored
		if script, is := strings.CutPrefix(beginning(path), "#!"); is {
			line, _, _ := strings.Cut(script, "\n")
			if words := strings.Fields(line); len(words) > 0 {
				beginning(words[0])
			}
		}
		return struct{}{}, nil
	})
	return err
}

// beginning is as much of a file as the kernel reads to know what program it is; empty where it can't be read.
func beginning(path string) string {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, 256)
	n, _ := f.Read(b)
	return string(b[:n])
}
