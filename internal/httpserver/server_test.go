package httpserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"golang.org/x/crypto/bcrypt"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// options are fit for a test; each test changes what it is about.
func options(t *testing.T) Options {
	t.Helper()
	return Options{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") }),
		Logger:  log.NewLogfmtLogger(testWriter{t}), Addresses: []string{"127.0.0.1:0"}, Program: "exporter",
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", strings.TrimSpace(string(b)))
	return len(b), nil
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

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
	s, err := New(o)
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

// certificate writes a self-signed one for 127.0.0.1 and returns its directory and the pool that trusts it.
func certificate(t *testing.T) (string, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, &x509.Certificate{SerialNumber: big.NewInt(1)}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	write(t, filepath.Join(dir, "cert.pem"), string(cert))
	write(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return dir, pool
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestServeTLSAndBasicAuthOnTwoAddresses(t *testing.T) {
	dir, pool := certificate(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	o := options(t)
	o.Addresses = []string{"127.0.0.1:0", "127.0.0.1:0"}
	o.ConfigFile = write(t, filepath.Join(dir, "web.yml"),
		"tls_server_config: {cert_file: cert.pem, key_file: key.pem}\nbasic_auth_users: {prometheus: '"+string(hash)+"'}\n")
	r := start(t, o)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	ask := func(password string) (int, string) {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://"+r.address+"/", nil)
		if password != "" {
			req.SetBasicAuth("prometheus", password)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, body(t, resp)
	}
	if status, text := ask("right"); status != 200 || text != "fine" {
		t.Errorf("with the right password: %d: %s", status, text)
	}
	for _, password := range []string{"", "wrong"} {
		if status, text := ask(password); status != 401 || strings.Contains(text, "fine") {
			t.Errorf("with password %q: %d: %s", password, status, text)
		}
	}
	r.stop()
	if err := <-r.ended; err != nil {
		t.Errorf("Run ended with %v", err)
	}
}

func TestBadWebConfigurationFile(t *testing.T) {
	dir, _ := certificate(t)
	for name, tc := range map[string]struct{ text, want string }{
		"unknown key":   {"tls_server_conf: {}\n", "field tls_server_conf not found"},
		"no YAML":       {"basic_auth_users: supersecret\n", "cannot unmarshal"},
		"no key file":   {"tls_server_config: {cert_file: cert.pem}\n", "missing one of key or key_file"},
		"no such file":  {"tls_server_config: {cert_file: nope.pem, key_file: key.pem}\n", "nope.pem"},
		"no hash":       {"basic_auth_users: {a: supersecret}\n", "hash"},
		"missing file":  {"", "no such file"},
		"swapped files": {"tls_server_config: {cert_file: key.pem, key_file: cert.pem}\n", "failed to load X509KeyPair"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			o.ConfigFile = filepath.Join(dir, strings.ReplaceAll(name, " ", "_")+".yml")
			if tc.text != "" {
				write(t, o.ConfigFile, tc.text)
			}
			_, err := New(o)
			if err == nil || !strings.HasPrefix(err.Error(), "web configuration file "+o.ConfigFile+": ") ||
				!strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "HINT: ") {
				t.Errorf("error %v, want the file, %q and a hint", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "supers") {
				t.Errorf("the error holds a part of a secret: %v", err)
			}
		})
	}
}

func TestAddressInUseEndsAllWithARemedy(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	o := options(t)
	o.Addresses = []string{"127.0.0.1:0", taken.Addr().String()}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "serve HTTP on "+taken.Addr().String()) ||
		!strings.Contains(err.Error(), "HINT: Is another exporter running?") {
		t.Errorf("error %v, want the address and the remedy", err)
	}
}

func TestShutdownLetsRequestsFinish(t *testing.T) {
	o := options(t)
	collecting, release := make(chan struct{}), make(chan struct{})
	o.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(collecting); <-release })
	r := start(t, o)
	answered := make(chan int, 1)
	go func() {
		resp, err := http.Get("http://" + r.address + "/")
		if err != nil {
			answered <- 0
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		answered <- resp.StatusCode
	}()
	<-collecting
	r.stop()
	for { // until nobody listens any more
		conn, err := net.Dial("tcp", r.address)
		if err != nil {
			break
		}
		conn.Close()
	}
	close(release)
	if status := <-answered; status != 200 {
		t.Errorf("the request under way got %d", status)
	}
	if err := <-r.ended; err != nil {
		t.Errorf("Run ended with %v", err)
	}
}

func TestShutdownDoesNotWaitForever(t *testing.T) {
	o := options(t)
	o.ShutdownGrace = 50 * time.Millisecond
	collecting, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	o.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(collecting); <-release })
	r := start(t, o)
	go func() {
		if resp, err := http.Get("http://" + r.address + "/"); err == nil {
			resp.Body.Close()
		}
	}()
	<-collecting
	r.stop()
	select {
	case err := <-r.ended:
		if err != nil {
			t.Errorf("Run ended with %v", err)
		}
	case <-time.After(pgtest.Patience(5 * time.Second)):
		t.Error("Run waits for a request that does not end")
	}
}

func TestLogBridge(t *testing.T) {
	var out pgtest.Buffer
	base := log.NewLogfmtLogger(&out)
	newSlog(level.NewFilter(base, level.AllowInfo())).With("a", 1).WithGroup("g").Info("Listening on", "address", ":9187")
	newSlog(level.NewFilter(base, level.AllowInfo())).Debug("hidden")
	errorLog := newHTTPErrorLog(level.NewFilter(base, level.AllowInfo()))
	errorLog.Printf("http: TLS handshake error from 10.0.0.1:1: EOF")
	errorLog.Printf("http: panic serving 10.0.0.1:1: oh")
	want := "level=info msg=\"Listening on\" a=1 g.address=:9187\nlevel=error msg=\"http server\" err=\"http: panic serving 10.0.0.1:1: oh\"\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestAnAddressWithoutAPortHasARemedy(t *testing.T) {
	o := options(t)
	o.Addresses = []string{"9187"}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "HINT: Write host:port, such as localhost:9187") {
		t.Errorf("%v, want the form of an address", err)
	}
}
