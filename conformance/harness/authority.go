package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Authority issues certificates into a folder, for servers on this machine and
// for clients.
type Authority struct {
	dir    string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

// NewAuthority makes one and writes its certificate to ca.pem in dir.
func NewAuthority(dir string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &Authority{dir: dir, key: key, serial: 1}
	t := a.template("Conformance CA")
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return a, a.write("ca.pem", "CERTIFICATE", der)
}

func (a *Authority) template(name string) *x509.Certificate {
	a.serial++
	return &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: name, Organization: []string{"Hermod"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func (a *Authority) write(name, kind string, der []byte) error {
	return os.WriteFile(a.Path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// Path is the place of a file in the authority's folder.
func (a *Authority) Path(name string) string { return filepath.Join(a.dir, name) }

// Pool trusts the authority.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Issue writes NAME.pem and NAME.key, over what was there, and returns the
// certificate's serial number. The certificate is good for localhost and
// 127.0.0.1 and says NAME as its common name, and in its other names
// NAME.dns, NAME@example.org and urn:NAME.
func (a *Authority) Issue(name string) (serial int64, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return 0, err
	}
	t := a.template(name)
	t.DNSNames, t.IPAddresses = []string{name + ".dns", "localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	t.EmailAddresses = []string{name + "@example.org"}
	t.URIs = []*url.URL{{Scheme: "urn", Opaque: name}}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return 0, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return 0, err
	}
	if err := a.write(name+".pem", "CERTIFICATE", der); err != nil {
		return 0, err
	}
	return a.serial, a.write(name+".key", "EC PRIVATE KEY", keyDER)
}

// Client is a configuration that trusts the authority and shows the
// certificate issued for name, none if that is "".
func (a *Authority) Client(name string) (*tls.Config, error) {
	c := &tls.Config{RootCAs: a.Pool(), ServerName: "localhost"}
	if name == "" {
		return c, nil
	}
	pair, err := tls.LoadX509KeyPair(a.Path(name+".pem"), a.Path(name+".key"))
	c.Certificates = []tls.Certificate{pair}
	return c, err
}
