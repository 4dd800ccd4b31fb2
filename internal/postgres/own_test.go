package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

func TestWhatIsOurOwnWant(t *testing.T) {
	// The kernel's own words, of an address that is no interface's, and of a port at which nobody listens.
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(203, 0, 113, 7)}}
	_, own := from.DialContext(t.Context(), "tcp", "127.0.0.1:1")
	_, theirs := (&net.Dialer{}).DialContext(t.Context(), "tcp", "127.0.0.1:1")
	if own == nil || theirs == nil {
		t.Fatal("both dials were to fail")
	}
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"none":                      {nil, false},
		"no address":                {own, true},
		"refused":                   {theirs, false},
		"no file":                   {fmt.Errorf("dial error: %w", syscall.EMFILE), true},
		"no file to look a name up": {&net.DNSError{Err: "dial udp 127.0.0.1:53: socket: " + syscall.EMFILE.Error()}, true},
		"no such name":              {&net.DNSError{Err: "no such host"}, false},
		"too late":                  {context.DeadlineExceeded, false},
		"one address of two":        {errors.Join(own, theirs), false},
		"both addresses":            {errors.Join(own, own), true},
	} {
		if got := postgres.IsOwn(tc.err); got != tc.want {
			t.Errorf("%s (%v): %t, want %t", name, tc.err, got, tc.want)
		}
	}
}
