package httpserver

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Hosts are the names under which pages for people and what changes something are served. A page of somebody else's that
// is open in a browser can have its own name lead to us (DNS rebinding), and would then be taken for one of ours; but it
// can't have a name that nobody can register: those are served without being told.
type Hosts struct {
	any   bool
	names map[string]bool
	own   string // the machine's name, without a domain

	canonical func() string
}

// unregistrable are the ends of names that no public name server answers for: of Kubernetes services and private networks.
var unregistrable = []string{".localhost", ".svc", ".cluster.local", ".internal"}

const lookupTimeout = 2 * time.Second

var allowedHost = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$`)

// NewHosts allows IP addresses, names without a dot, those of Kubernetes services, this machine's own, and the given ones;
// "*" allows all. A name is given without a port.
func NewHosts(allowed []string) (*Hosts, error) {
	h := &Hosts{names: map[string]bool{}, canonical: sync.OnceValue(canonicalName)}
	for _, list := range allowed {
		for _, name := range strings.Split(list, ",") {
			switch name = strings.TrimSpace(name); {
			case name == "*":
				h.any = true
			case allowedHost.MatchString(name):
				h.names[normal(name)] = true
			default:
				return nil, fmt.Errorf("%q is no name of a host. HINT: Write one such as exporter.example.com, without a scheme and a port, or * "+
					"for all", name)
			}
		}
	}
	if name, err := os.Hostname(); err == nil {
		name = normal(name)
		h.names[name] = true
		h.own, _, _ = strings.Cut(name, ".")
		h.names[h.own+".local"] = true
	}
	return h, nil
}

// Wrap serves h under these names, and 421 under others.
func (h *Hosts) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := hostOf(r.Host); !h.allows(name) {
			http.Error(w, fmt.Sprintf("Not under the name %.253q: if that is somebody else's, a page of theirs in your browser must not read "+
				"this one. "+
				"HINT: Ask by IP address or by the machine's own name, or start the program with --web.allowed-hosts=NAME for a name that is yours, "+
				"such as the one that a reverse proxy passes on.", name), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (h *Hosts) allows(name string) bool {
	if h.any || name == "" || h.names[name] || !strings.Contains(name, ".") { // no browser leaves it empty
		return true
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	for _, end := range unregistrable {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return h.own != "" && strings.HasPrefix(name, h.own+".") && name == h.canonical()
}

// hostOf is the Host header without a port.
func hostOf(header string) string {
	if host, _, err := net.SplitHostPort(header); err == nil {
		return normal(host)
	}
	return normal(strings.TrimSuffix(strings.TrimPrefix(header, "["), "]"))
}

func normal(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// canonicalName is the machine's name with its domain, as its own name service has it; empty where it has none.
func canonicalName() string {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	full, err := net.DefaultResolver.LookupCNAME(ctx, name)
	if err != nil {
		return ""
	}
	return normal(full)
}
