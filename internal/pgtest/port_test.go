package pgtest_test

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// Demos that begin at the same moment each find their port free; the later one would take the earlier one's exporter for
// its own, and end when its own can't listen.
func TestWhoClaimsNeverShares(t *testing.T) {
	port, held, err := pgtest.ClaimPort(0)
	if err != nil {
		t.Fatal(err)
	}
	second, other, err := pgtest.ClaimPort(port)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if second == port {
		t.Errorf("both have port %d", port)
	}
	_ = held.Close()
	third, again, err := pgtest.ClaimPort(port)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if third != port {
		t.Errorf("%d is free again, but the next who claims it gets %d", port, third)
	}
}

// A client's port, such as that of a probe that just failed, would keep the server from coming back.
func TestAFreePortIsNoClients(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Skip("the kernel does not say which ports it gives to clients")
	}
	lowest, err := strconv.Atoi(strings.Fields(string(text))[0])
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		port, err := pgtest.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if port >= lowest {
			t.Errorf("port %d is one of those from %d on that the kernel gives to clients", port, lowest)
		}
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			t.Errorf("not free: %v", err)
			continue
		}
		_ = l.Close()
	}
}
