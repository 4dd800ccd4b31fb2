package pgtest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// EnableTLS gives the server a new certificate for 127.0.0.1 that ends at leaf, and shows with it the one that signed it,
// which ends at issuer. Nobody vouches for either. It returns when the server takes TLS; connections that are
// open stay as they are.
func (c *Cluster) EnableTLS(ctx context.Context, leaf, issuer time.Time) error {
	var shown bytes.Buffer
	ca, caKey, err := certificate(&shown, &x509.Certificate{
		Subject: pkix.Name{CommonName: "issuer"}, NotAfter: issuer, IsCA: true, BasicConstraintsValid: true,
	}, nil, nil)
	if err != nil {
		return err
	}
	issued := shown.String()
	shown.Reset()
	_, key, err := certificate(&shown, &x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost"}, NotAfter: leaf, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, ca, caKey)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode the server's key: %w", err)
	}
	if err := errors.Join(
		c.WriteFile("server.crt", append(shown.Bytes(), issued...)),
		c.WriteFile("server.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		c.Configure(map[string]string{"ssl": "on"}),
		c.Reload(),
	); err != nil {
		return err
	}
	for {
		on, err := c.Query(ctx, "postgres", "current_setting('ssl')")
		if err != nil || on == "on" {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server takes no TLS: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// certificate makes one and its key, and writes it; without an issuer it signs itself.
func certificate(w *bytes.Buffer, template, issuer *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey,
	error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore = time.Now().Add(-time.Hour)
	if issuer == nil {
		issuer, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		return nil, nil, fmt.Errorf("sign a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("read the certificate: %w", err)
	}
	return cert, key, pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: der})
}
