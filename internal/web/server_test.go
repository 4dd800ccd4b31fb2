package web

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// running is a server with its address and a way to stop it.
type running struct {
	address string
	stop    context.CancelFunc
	ended   chan error
}

func start(t *testing.T, o Options) *running {
	t.Helper()
	addresses := make(chan net.Addr, len(o.Addresses))
	o.OnListen = func(a net.Addr) { addresses <- a }
	s, err := newAt(o, func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{stop: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- s.Run(ctx) }()
	t.Cleanup(cancel)
	for range o.Addresses {
		select {
		case a := <-addresses:
			r.address = a.String()
		case err := <-r.ended:
			t.Fatalf("the server ended: %v", err)
		}
	}
	return r
}

func TestBadOptionsSayWhatIsRight(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"are required":            func(o *Options) { o.Engine = nil },
		"no address to listen on": func(o *Options) { o.Addresses = nil },
		`"metrics" can't be the path of the metrics page. HINT`: func(o *Options) { o.MetricsPath = "metrics" },
		`"/{x}" can't be the path of the metrics page. HINT`:    func(o *Options) { o.MetricsPath = "/{x}" },
		`"/a/../b" can't be the path of the metrics page. HINT`: func(o *Options) { o.MetricsPath = "/a/../b" },
		`"/-/ready" is taken. HINT`:                             func(o *Options) { o.MetricsPath = "/-/ready" },
		`"/primary" is taken. HINT`:                             func(o *Options) { o.MetricsPath = "/primary" },
		"offset is -1s. HINT":                                   func(o *Options) { o.TimeoutOffset = -time.Second },
	} {
		o := options(t)
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to hold %q", err, want)
		}
	}
}

// HAProxy's plain check speaks HTTP/1.0 without a Host.
func TestHAProxysCheck(t *testing.T) {
	r := start(t, options(t))
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "OPTIONS /primary HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	reply, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(reply), "HTTP/1.0 200 OK\r\n") || !strings.HasSuffix(string(reply), "\r\n\r\n") {
		t.Errorf("%v: %q", err, reply)
	}
}
