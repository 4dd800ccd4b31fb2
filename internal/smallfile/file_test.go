package smallfile

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// No test has a dead mount: what stands for it is a reading that does not return.
func TestAFileOnADeadMountHoldsNobodyUp(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	var begun atomic.Int32
	alive := make(chan struct{})
	f := At(name)
	f.read = func(name string) ([]byte, error) {
		begun.Add(1)
		<-alive
		return Read(name)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if b, err := f.Read(ctx); err == nil || b != nil || !strings.Contains(err.Error(), "has not been read for ") {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
	all.Wait()
	if n := begun.Load(); n != 1 {
		t.Errorf("%d readings hang", n)
	}
	close(alive)
	for range 2 {
		if b, err := f.Read(t.Context()); string(b) != "secret" || err != nil {
			t.Errorf("when it is back: %q, %v", b, err)
		}
	}
}
