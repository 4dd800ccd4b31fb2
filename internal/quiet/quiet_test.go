package quiet

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What is planned is done in its order and not before its time; what is taken back is not done.
func TestAClock(t *testing.T) {
	for name, c := range map[string]*Clock{"of the system": NewClock(), "of Go": nil} {
		t.Run(name, func(t *testing.T) {
			defer c.Close()
			began := time.Now()
			done := make(chan time.Duration, 10)
			plan := func(d time.Duration) *Timer {
				return c.AfterFunc(d, func() {
					if time.Since(began) < d {
						t.Errorf("what was planned in %s was done before", d)
					}
					done <- d
				})
			}
			plan(90 * time.Millisecond)
			never := plan(60 * time.Millisecond)
			plan(30 * time.Millisecond)
			plan(0)
			if !never.Stop() || never.Stop() {
				t.Error("it is stopped once")
			}
			for _, want := range []time.Duration{0, 30 * time.Millisecond, 90 * time.Millisecond} {
				if got := <-done; got != want {
					t.Errorf("%s, want %s", got, want)
				}
			}
			again := c.AfterFunc(time.Hour, func() { done <- time.Hour })
			again.Reset(time.Millisecond)
			<-done
			again.Reset(time.Millisecond) // one that was done, too
			<-done
			last := plan(time.Millisecond)
			<-done
			if last.Stop() {
				t.Error("what was done can't be stopped")
			}
		})
	}
}

// No timer is lost, however many are planned and taken back by several at a time, from within others, too.
func TestAClockLosesNothing(t *testing.T) {
	c := NewClock()
	if c == nil {
		t.Skip("this system has none")
	}
	defer c.Close()
	var all, planned sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 500 {
				n, _ := rand.Int(rand.Reader, big.NewInt(300))
				planned.Add(1)
				c.AfterFunc(time.Duration(n.Int64())*time.Microsecond, func() {
					c.AfterFunc(time.Microsecond, planned.Done)
				})
				c.AfterFunc(time.Minute, func() { t.Error("too early") }).Stop()
			}
		})
	}
	all.Wait()
	planned.Wait()
}

// A closed clock does nothing more, and takes what is planned all the same.
func TestAClosedClock(t *testing.T) {
	c := NewClock()
	c.AfterFunc(time.Millisecond, func() {})
	c.Close()
	if c.AfterFunc(0, func() { t.Error("it is closed") }).Stop() {
		t.Error("nothing was planned")
	}
}

// A connection is what it was: long texts both ways, deadlines, the other side's end, and its errors with their numbers.
func TestAConnection(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = t.TempDir() + "/s"
			}
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			plain, err := net.Dial(network, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			c := Conn(plain)
			defer c.Close()
			other, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()

			text := make([]byte, 8<<20) // more than any buffer between the two
			_, _ = rand.Read(text)
			go func() {
				got := make([]byte, len(text))
				_, _ = io.ReadFull(other, got)
				_, _ = other.Write(got)
			}()
			if n, err := c.Write(text); n != len(text) || err != nil {
				t.Fatal(n, err)
			}
			got := make([]byte, len(text))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, text) {
				t.Fatal("what came back is something else", err)
			}

			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			var timeout net.Error
			_, err = c.Read(got)
			if !errors.As(err, &timeout) || !timeout.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%v is no timeout", err)
			}
			_, plainErr := plain.Read(got)
			if err.Error() != plainErr.Error() {
				t.Errorf("%q, and a plain connection says %q", err, plainErr)
			}
			_ = c.SetReadDeadline(time.Time{})
			_ = other.Close()
			if n, err := c.Read(got); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %d, %v", n, err)
			}
			for err = nil; err == nil; {
				_, err = c.Write(text)
			}
			if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%v does not say that the other side is gone", err)
			}
			_ = c.Close()
			if _, err := c.Read(got); !errors.Is(err, net.ErrClosed) {
				t.Errorf("of a closed one: %v", err)
			}
		})
	}
}

// A process has one processor between works, and all of them while there is any.
func TestProcessors(t *testing.T) {
	before := runtime.GOMAXPROCS(max(2, runtime.NumCPU()))
	defer runtime.GOMAXPROCS(before)
	most := runtime.GOMAXPROCS(0)
	p := NewProcessors()
	has := func(when string, want int) {
		t.Helper()
		for until := time.Now().Add(pgtest.Patience(10 * time.Second)); runtime.GOMAXPROCS(0) != want; time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("%s: %d processors, want %d", when, runtime.GOMAXPROCS(0), want)
			}
		}
	}
	has("at the beginning", 1)
	p.Work(func() {
		has("in a work", most)
		p.Work(func() { has("in two", most) })
		time.Sleep(10 * time.Millisecond) // the end of the other one is not ours
		has("after the other one", most)
	})
	has("after both", 1)
	p.Close()
	has("closed", most)
	p.Work(func() {})
	time.Sleep(10 * time.Millisecond)
	has("after a work that came too late", most)

	var none *Processors
	none.Work(func() { most = 0 })
	none.Close()
	if most != 0 {
		t.Error("without processors nothing was done")
	}
}
