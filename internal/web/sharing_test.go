package web

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestThoseWhoAskTogetherShareOnePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var collected atomic.Int64
		o := options(t)
		o.Registerer = nil
		o.Engine = &engineStub{gather: func(context.Context) { collected.Add(1); time.Sleep(time.Second) }}
		s := newServer(t, o)
		ask := func(target string, header ...string) {
			if resp := get(t, s, "GET", target, header...); resp.StatusCode != 200 {
				t.Errorf("%s: %d", target, resp.StatusCode)
			}
		}
		want := func(n int64, who string) {
			t.Helper()
			if got := collected.Swap(0); got != n {
				t.Errorf("%s: collected %d times, want %d", who, got, n)
			}
		}
		var all sync.WaitGroup
		for range 300 {
			all.Go(func() { ask("/metrics") })
		}
		all.Wait()
		want(1, "300 at once")
		ask("/metrics")
		want(1, "one after the page is old")

		for _, other := range []struct {
			target string
			header []string
		}{
			{"/metrics", nil},
			{"/metrics?collect[]=locks", nil},
			{"/metrics?exclude[]=locks", nil},
			{"/metrics?name[]=pg_up", nil},
			{"/metrics", []string{"Accept", "application/openmetrics-text"}},
			{"/metrics", []string{"Accept-Encoding", "gzip"}},
			{"/metrics", []string{scrapeTimeoutHeader, "3"}},
		} {
			all.Go(func() { ask(other.target, other.header...) })
		}
		all.Wait()
		want(7, "seven that ask for different things")
	})
}

func TestAPageIsMadeAsLongAsSomebodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var given atomic.Bool
		s := newSharing()
		slow := func(ctx context.Context) *bufferedPage {
			select {
			case <-ctx.Done():
				given.Store(true)
				return nil
			case <-time.After(time.Second):
				return &bufferedPage{}
			}
		}
		first, leave := context.WithCancel(t.Context())
		second, leaveToo := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { s.page(first, "a", slow) })
		synctest.Wait()
		all.Go(func() {
			if s.page(second, "a", nil) == nil {
				t.Error("who stayed got no page")
			}
		})
		synctest.Wait()
		leave()
		all.Wait()
		if given.Load() {
			t.Error("the page was given up while somebody waited")
		}

		all.Go(func() { s.page(second, "b", slow) })
		synctest.Wait()
		leaveToo()
		all.Wait()
		if !given.Load() {
			t.Error("the page is made though all have left")
		}
		time.Sleep(shareFor)
		synctest.Wait()
		if len(s.pages) > 0 {
			t.Errorf("%d pages are kept", len(s.pages))
		}
	})
}

func TestAPageThatCanNotBeMadeIsToldToAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		o.Registerer = nil
		o.Engine = &engineStub{gather: func(context.Context) { time.Sleep(time.Second); panic(errors.New("a fault of ours")) }}
		s := newServer(t, o)
		go func() {
			defer func() { _ = recover() }() // as net/http does
			s.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil))
		}()
		synctest.Wait()
		resp := get(t, s, "GET", "/metrics")
		if text := body(t, resp); resp.StatusCode != 500 || !strings.Contains(text, "can't be made") {
			t.Errorf("%d: %s", resp.StatusCode, text)
		}
	})
}
