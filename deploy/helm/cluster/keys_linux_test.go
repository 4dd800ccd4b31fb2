package cluster_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// authority signs what it is shown.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// makeKeys makes the cluster's authority and what its programs show each other. The database's is signed by it, too.
func (c *cluster) makeKeys() {
	c.issue("ca", &x509.Certificate{Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature})
	c.issue("apiserver", &x509.Certificate{Subject: pkix.Name{CommonName: "kube-apiserver"}, DNSNames: []string{"kubernetes.default.svc"},
		IPAddresses: []net.IP{net.ParseIP(nodeAddress), net.ParseIP("10.96.0.1")}})
	c.issue("kubelet", &x509.Certificate{Subject: pkix.Name{CommonName: "node"}, DNSNames: []string{"node"},
		IPAddresses: []net.IP{net.ParseIP(nodeAddress)}})
	c.issue("admin", &x509.Certificate{Subject: pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}})
	c.issue("database", &x509.Certificate{Subject: pkix.Name{CommonName: "db1"}, DNSNames: []string{databaseHost}})
	key := c.issue("accounts", &x509.Certificate{Subject: pkix.Name{CommonName: "accounts"}})
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		c.t.Fatal(err)
	}
	c.writePEM("accounts.pub", "PUBLIC KEY", public)
}

// issue writes NAME.crt and NAME.key, signed by the authority, or by itself where there is none yet.
func (c *cluster) issue(name string, template *x509.Certificate) *ecdsa.PrivateKey {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		c.t.Fatal(err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	if !template.IsCA {
		template.KeyUsage = x509.KeyUsageDigitalSignature
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	issuer := c.authority
	if issuer.key == nil {
		issuer = authority{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.certificate, key.Public(), issuer.key)
	if err != nil {
		c.t.Fatal(err)
	}
	if c.authority.key == nil {
		c.authority = issuer
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	c.writePEM(name+".crt", "CERTIFICATE", der)
	c.writePEM(name+".key", "PRIVATE KEY", private)
	return key
}

func (c *cluster) writePEM(name, kind string, der []byte) {
	c.t.Helper()
	c.write(name, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}
