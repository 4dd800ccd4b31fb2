package pgtest

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy stands between a client and a server and does to the network what happens to networks.
type Proxy struct {
	listener net.Listener
	target   string
	accepted atomic.Int64

	mu      sync.Mutex
	delay   time.Duration
	silent  bool
	refused bool
	open    map[net.Conn]struct{}
}

// NewProxy listens on a free port and passes connections on to the cluster until the test ends.
func NewProxy(t testing.TB, c *Cluster) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen for the proxy: %v", err)
	}
	p := &Proxy{listener: l, target: net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port)), open: map[net.Conn]struct{}{}}
	go p.serve(t.Context())
	t.Cleanup(func() {
		_ = l.Close()
		p.Cut()
	})
	return p
}

// Port the proxy listens on.
func (p *Proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// DSN sends a connection URL through the proxy.
func (p *Proxy) DSN(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return dsn
	}
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port()))
	return u.String()
}

// Accepted counts the connections taken so far.
func (p *Proxy) Accepted() int { return int(p.accepted.Load()) }

// Delay holds back every byte by d, in each direction.
func (p *Proxy) Delay(d time.Duration) { p.set(func() { p.delay = d }) }

// Blackhole swallows all bytes, of new connections and open ones, until it is switched off.
func (p *Proxy) Blackhole(on bool) { p.set(func() { p.silent = on }) }

// Refuse closes new connections at once, as a load balancer without a server behind it does.
func (p *Proxy) Refuse(on bool) { p.set(func() { p.refused = on }) }

// Cut breaks all open connections.
func (p *Proxy) Cut() {
	p.set(func() {
		for c := range p.open {
			_ = c.Close()
		}
	})
}

func (p *Proxy) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *Proxy) serve(ctx context.Context) {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p.accepted.Add(1)
		go p.handle(ctx, client)
	}
}

func (p *Proxy) handle(ctx context.Context, client net.Conn) {
	defer p.track(client)()
	p.mu.Lock()
	refused := p.refused
	p.mu.Unlock()
	if refused {
		return
	}
	var d net.Dialer
	server, err := d.DialContext(ctx, "tcp", p.target)
	if err != nil {
		return
	}
	defer p.track(server)()
	done := make(chan struct{}, 2)
	go func() { p.copy(server, client); done <- struct{}{} }()
	go func() { p.copy(client, server); done <- struct{}{} }()
	<-done
}

// track keeps a connection where Cut finds it, and closes it at the end.
func (p *Proxy) track(c net.Conn) func() {
	p.set(func() { p.open[c] = struct{}{} })
	return func() {
		_ = c.Close()
		p.set(func() { delete(p.open, c) })
	}
}

func (p *Proxy) copy(dst, src net.Conn) {
	type chunk struct {
		data []byte
		due  time.Time
	}
	queue := make(chan chunk, 1024)
	go func() { // apart from reading, so that a delay adds latency and takes no bandwidth
		for c := range queue {
			time.Sleep(time.Until(c.due))
			if _, err := dst.Write(c.data); err != nil {
				_ = src.Close()
			}
		}
		_ = dst.Close()
	}()
	defer close(queue)
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		p.mu.Lock()
		delay, silent := p.delay, p.silent
		p.mu.Unlock()
		if n > 0 && !silent {
			queue <- chunk{append([]byte(nil), buf[:n]...), time.Now().Add(delay)}
		}
		if err != nil {
			return
		}
	}
}
