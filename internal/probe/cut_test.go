package probe

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// cut is a network between the prober and a server that can be cut in two ways: as one that turns connections away, and as
// one that loses packets, which TCP sends again once it is mended.
type cut struct {
	listener net.Listener
	target   string

	mu      sync.Mutex
	mended  *sync.Cond
	lost    bool
	refused bool
	open    map[net.Conn]bool
}

func newCut(t testing.TB, c *pgtest.Cluster) *cut {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	n := &cut{listener: l, target: net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port)), open: map[net.Conn]bool{}}
	n.mended = sync.NewCond(&n.mu)
	go n.serve()
	t.Cleanup(func() {
		_ = l.Close()
		n.refuse(true)
		n.lose(false)
	})
	return n
}

func (n *cut) dsn(t testing.TB, of string) string {
	t.Helper()
	u, err := url.Parse(of)
	must(t, err)
	u.Host = n.listener.Addr().String()
	return u.String()
}

// refuse closes what is open and what comes.
func (n *cut) refuse(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refused = on
	for c := range n.open {
		if on {
			_ = c.Close()
		}
	}
}

// lose holds all bytes back.
func (n *cut) lose(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost = on
	n.mended.Broadcast()
}

// hold closes what is open, takes what comes, and passes nothing of it on.
func (n *cut) hold(on bool) {
	n.refuse(on)
	n.lose(on)
	if on {
		n.refuse(false)
	}
}

// wait until nothing is lost.
func (n *cut) wait() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.lost {
		n.mended.Wait()
	}
}

func (n *cut) serve() {
	for {
		client, err := n.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			go n.handle(client)
		}
	}
}

// keep notes an open connection; false when the network turns it away.
func (n *cut) keep(c net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refused {
		_ = c.Close()
		return false
	}
	n.open[c] = true
	return true
}

func (n *cut) drop(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_ = c.Close()
	delete(n.open, c)
}

func (n *cut) handle(client net.Conn) {
	if !n.keep(client) {
		return
	}
	defer n.drop(client)
	n.wait()
	server, err := net.Dial("tcp", n.target)
	if err != nil || !n.keep(server) {
		return
	}
	defer n.drop(server)
	done := make(chan struct{}, 2)
	go func() { _, _ = io.Copy(server, held{n, client}); done <- struct{}{} }()
	go func() { _, _ = io.Copy(client, held{n, server}); done <- struct{}{} }()
	<-done
}

// dropPackets has the kernel drop what comes from or goes to a local port, until mend. It needs iptables and the right to it.
func dropPackets(t testing.TB, port int) (mend func(), err error) {
	t.Helper()
	rule := func(action string) error {
		out, err := exec.Command("iptables", "--wait", action, "INPUT", "--in-interface", "lo", "--protocol", "tcp",
			"--match", "multiport", "--ports", strconv.Itoa(port), "--jump", "DROP").CombinedOutput()
		if err != nil {
			return fmt.Errorf("iptables: %w: %s", err, out)
		}
		return nil
	}
	if err := rule("--insert"); err != nil {
		return nil, err
	}
	mend = sync.OnceFunc(func() {
		if err := rule("--delete"); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(mend)
	return mend, nil
}

// held passes on what was read once the network is whole.
type held struct {
	n *cut
	c net.Conn
}

func (h held) Read(b []byte) (int, error) {
	read, err := h.c.Read(b)
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	for h.n.lost {
		h.n.mended.Wait()
	}
	return read, err
}
