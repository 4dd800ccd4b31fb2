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
			if b, err := f.Read(ctx); err == nil || b != nil || !strings.Contains(err.Error(), "it has not been read for ") {
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

// Whoever asks again while a reading hangs starts no other one, and is told; when the mount is back, what is read is new.
func TestReadingsThatHangDontPileUp(t *testing.T) {
	var begun atomic.Int32
	alive := make(chan struct{})
	var turn Turn
	read := func() (int32, error) {
		n := begun.Add(1)
		<-alive
		return n, nil
	}
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		n, err := Within(ctx, &turn, "the list", read)
		if n != 0 || err == nil || !strings.Contains(err.Error(), "the list: it has not been read for ") {
			t.Errorf("%d, %v", n, err)
		}
		cancel()
	}
	if n := begun.Load(); n != 1 {
		t.Errorf("%d readings hang", n)
	}
	close(alive)
	for want := range int32(2) {
		if n, err := Within(t.Context(), &turn, "the list", read); n != want+2 || err != nil {
			t.Errorf("when it is back: %d, %v", n, err)
		}
	}
}
