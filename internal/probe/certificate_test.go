package probe

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// sign makes a certificate and its key; without an authority it signs itself.
func (a *authority) sign(t *testing.T, name string, ends time.Time) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: ends, IsCA: name != "server", BasicConstraintsValid: true,
	}
	parent, signer := template, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// install gives a server a certificate and those that vouch for it.
func install(t *testing.T, c *pgtest.Cluster, leaf *authority, chain ...*authority) {
	t.Helper()
	shown := [][]byte{leaf.pem}
	for _, a := range chain {
		shown = append(shown, a.pem)
	}
	key, err := x509.MarshalPKCS8PrivateKey(leaf.key)
	must(t, err)
	must(t, c.WriteFile("server.crt", bytes.Join(shown, nil)))
	must(t, c.WriteFile("server.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	must(t, c.Configure(map[string]string{"ssl": "on"}))
	must(t, c.Reload())
}

func TestTheEndOfTheServersCertificate(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	today := time.Now().Truncate(time.Second)
	root := (*authority)(nil).sign(t, "root", today.AddDate(10, 0, 0))
	between := root.sign(t, "between", today.AddDate(0, 0, 20))
	leaf := between.sign(t, "server", today.AddDate(0, 0, 90))
	install(t, c, leaf, between)
	pgtest.Eventually(t, 10*time.Second, func() error {
		if on, err := c.Query(t.Context(), "postgres", "current_setting('ssl')"); err != nil || on != "on" {
			return fmt.Errorf("ssl is %s, %v", on, err)
		}
		return nil
	})
	const own, first = "pg_reliability_tls_certificate_expiry_timestamp_seconds", "pg_reliability_tls_chain_expiry_timestamp_seconds"

	plain := start(t, quick(connectTo(t, c.MonitorDSN())))
	plain.waitFor(t, postgres.OK)
	assertSamples(t, plain, map[string]float64{"pg_up": 1}, "pg_reliability_tls_")

	p := start(t, quick(connectTo(t, strings.Replace(c.MonitorDSN(), "sslmode=disable", "sslmode=require", 1))))
	p.waitFor(t, postgres.OK)
	assertSamples(t, p, map[string]float64{own: float64(leaf.cert.NotAfter.Unix()), first: float64(between.cert.NotAfter.Unix())})
	assertClean(t, p)

	// A new one is met by the next login; the connection that is kept goes on with the old one.
	renewed := between.sign(t, "server", today.AddDate(0, 0, 10))
	install(t, c, renewed, between)
	pgtest.Eventually(t, 10*time.Second, func() error {
		if got := samples(t, p); got[own] != float64(renewed.cert.NotAfter.Unix()) || got[first] != got[own] {
			return fmt.Errorf("ends at %v, the chain at %v", got[own], got[first])
		}
		return nil
	})
	// It is not forgotten while the server is down.
	must(t, c.Stop())
	p.waitFor(t, postgres.Refused)
	assertSamples(t, p, map[string]float64{"pg_up": 0, own: float64(renewed.cert.NotAfter.Unix())})
}
