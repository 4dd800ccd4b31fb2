package probe

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// An exporter whose clients held all of its files called the server down: it could not make a socket to ask it with.
func TestWhatTheExporterLacksIsNoOutage(t *testing.T) {
	lacking := func() (time.Duration, error) {
		return 0, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)}
	}
	broken := func() (time.Duration, error) {
		return 0, &postgres.Failure{Reason: postgres.Refused, Err: errors.New("the session ends")}
	}
	for name, query := range map[string]func() (time.Duration, error){"logins alone": fine, "and the session ends": broken} {
		t.Run(name, func(t *testing.T) {
			played(t, func(t *testing.T, s *script, p *Prober) {
				s.until(9 * time.Second)
				s.set(lacking, query)
				s.until(200 * time.Second)
				v := p.Snapshot().Judge(time.Now())
				if v.Status != StatusUnknown || strings.Contains(v.Message, "files") {
					t.Errorf("while nobody can be asked: %+v", v)
				}
				s.set(fine, fine)
				s.until(215 * time.Second)
				if snap := p.Snapshot(); snap.Outages != 0 || snap.Reason != postgres.OK || snap.Judge(time.Now()).Status != StatusUp {
					t.Errorf("afterwards: %+v", snap)
				}
			})
		})
	}
}
