package web

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status/gather"
)

// slowStatus takes a while, and counts.
type slowStatus struct {
	statusStub
	mu             sync.Mutex
	now, most, all int
}

func (s *slowStatus) Status(ctx context.Context, now time.Time, judged gather.Judged, windows gather.Windows) status.Status {
	s.mu.Lock()
	s.all++
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	time.Sleep(5 * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
	return s.statusStub.Status(ctx, now, judged, windows)
}

// However many ask for pages at once, one is made at a time, and one for all who want the same.
func TestManyWhoAskForPagesCostLittle(t *testing.T) {
	const clients = 100
	for name, address := range map[string]string{"same": "/", "data": "/api/status", "different": "/?a=%d"} {
		t.Run(name, func(t *testing.T) {
			o, stub := options(t), &slowStatus{}
			o.Status = stub
			s := newServer(t, o)
			began := time.Now()
			var all sync.WaitGroup
			for i := range clients {
				all.Go(func() {
					to := address
					if name == "different" {
						to = fmt.Sprintf(address, i)
					}
					if resp := get(t, s, http.MethodGet, to); resp.StatusCode != http.StatusOK || len(body(t, resp)) < 100 {
						t.Errorf("status %d", resp.StatusCode)
					}
				})
			}
			all.Wait()
			moments := int(time.Since(began)/shareFor) + 1
			if stub.most > 1 || name != "different" && stub.all > moments {
				t.Errorf("%d pages were made in %d moments, %d at once", stub.all, moments, stub.most)
			}
		})
	}
}
