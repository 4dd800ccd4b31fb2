package pgtest

import (
	"context"
	"errors"
	"fmt"
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
	ctx      context.Context
	port     int
	target   string
	accepted atomic.Int64
	turns    atomic.Int64

	mu       sync.Mutex
	listener net.Listener // nil while it is away
	delay    time.Duration
	silent   bool
	refused  bool
	open     map[net.Conn]struct{}
}

// NewProxy listens on a free port and passes connections on to the cluster until the test ends.
func NewProxy(t testing.TB, c *Cluster) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen for the proxy: %v", err)
	}
	p := &Proxy{ctx: t.Context(), port: l.Addr().(*net.TCPAddr).Port, listener: l,
		target: net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port)), open: map[net.Conn]struct{}{}}
	go p.serve(l)
	t.Cleanup(p.Leave)
	return p
}

// Port the proxy listens on.
func (p *Proxy) Port() int { return p.port }

// Leave breaks all connections and listens no more, as a machine does that has lost its network.
func (p *Proxy) Leave() {
	p.set(func() {
		if p.listener != nil {
			_ = p.listener.Close()
			p.listener = nil
		}
	})
	p.Cut()
}

// Return listens again, at the same port.
func (p *Proxy) Return() error {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)))
	if err != nil {
		return fmt.Errorf("listen for the proxy: %w", err)
	}
	p.set(func() { p.listener = l })
	go p.serve(l)
	return nil
}

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

// RoundTrips counts how often a client has said something after its connection began or the server had said something.
func (p *Proxy) RoundTrips() int { return int(p.turns.Load()) }

// Delay holds back every byte by d, in each direction.
func (p *Proxy) Delay(d time.Duration) { p.set(func() { p.delay = d }) }

// Blackhole swallows all bytes, of new connections and open ones, until it is switched off.
func (p *Proxy) Blackhole(on bool) { p.set(func() { p.silent = on }) }

// Refuse closes new connections at once, as a load balancer without a server behind it does.
func (p *Proxy) Refuse(on bool) { p.set(func() { p.refused = on }) }

// Lead passes new connections on to another cluster.
func (p *Proxy) Lead(c *Cluster) {
	p.set(func() { p.target = net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port)) })
}

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

func (p *Proxy) serve(l net.Listener) {
	for {
		client, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p.accepted.Add(1)
		go p.handle(p.ctx, client)
	}
}

func (p *Proxy) handle(ctx context.Context, client net.Conn) {
	defer p.track(client)()
	p.mu.Lock()
	refused, target := p.refused, p.target
	p.mu.Unlock()
	if refused {
		return
	}
	var d net.Dialer
	server, err := d.DialContext(ctx, "tcp", target)
	if err != nil {
		return
	}
	defer p.track(server)()
	done := make(chan struct{}, 2)
	var asked atomic.Bool
	ask := func() {
		if !asked.Swap(true) {
			p.turns.Add(1)
		}
	}
	go func() { p.copy(server, client, ask); done <- struct{}{} }()
	go func() { p.copy(client, server, func() { asked.Store(false) }); done <- struct{}{} }()
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

// copy passes on what src says, and calls said before it does.
func (p *Proxy) copy(dst, src net.Conn, said func()) {
	type chunk struct {
		data []byte
		due  time.Time
	}
	queue, written := make(chan chunk, 1024), make(chan struct{})
	go func() { // apart from reading, so that a delay adds latency and takes no bandwidth
		defer close(written)
		for c := range queue {
			time.Sleep(time.Until(c.due))
			if _, err := dst.Write(c.data); err != nil {
				_ = src.Close()
			}
		}
		_ = dst.Close()
	}()
	defer func() { close(queue); <-written }() // what a server says last is passed on
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		p.mu.Lock()
		delay, silent := p.delay, p.silent
		p.mu.Unlock()
		if n > 0 && !silent {
			said()
			queue <- chunk{append([]byte(nil), buf[:n]...), time.Now().Add(delay)}
		}
		if err != nil {
			return
		}
	}
}
