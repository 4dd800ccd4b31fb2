package serverlog

import (
	"path/filepath"
	"syscall"
	"testing"
)

// TestAStateThatHangsDoesNotKeepTheLogUnread has a FIFO in the place of the notes of an earlier run, which stands for a disk that does
// not answer.
func TestAStateThatHangsDoesNotKeepTheLogUnread(t *testing.T) {
	t.Parallel()
	dir, state := t.TempDir(), t.TempDir()
	must(t, syscall.Mkfifo(filepath.Join(state, positionsFile), 0o600))
	path := filepath.Join(dir, "server.log")
	appendLines(t, path, -10, 0)
	f := follow(t, Settings{Prefix: "%m [%p] "}, state, path)
	f.counts(0)
	appendLines(t, path, 0, 9)
	f.counts(9)
}
