package mqtt

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
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// certificate makes a certificate that signs itself and returns its pool.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &priv.PublicKey, priv)
	must(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(priv)
	must(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pemCert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	must(t, os.WriteFile(cert, pemCert, 0o600))
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600))
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(pemCert)
	return cert, key, pool
}

func TestMQTT69TLS(t *testing.T) {
	cert, key, pool := certificate(t)
	b := startOwn(t, "listeners.mqtt.tls_address=127.0.0.1:0", "tls.cert_file="+cert, "tls.key_file="+key)
	c, err := tls.Dial("tcp", b.Addr("mqtts"), &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12})
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	r := &raw{t: t, c: c, v: wire.V5}
	if a := r.hello("secure"); a.Reason != 0 {
		t.Fatalf("CONNACK 0x%02X", byte(a.Reason))
	}
	r.sub("t", 1)
	r.publish("t", "m", 0)
	r.want("m")
}

func TestMQTT71ProxyProtocol(t *testing.T) {
	b := startOwn(t, "listeners.mqtt.proxy_protocol=true")
	r := rawTo(t, b, wire.V5)
	r.send([]byte("PROXY TCP4 127.0.0.1 127.0.0.1 5555 1883\r\n"))
	if a := r.hello("proxied"); a.Reason != 0 {
		t.Fatalf("CONNACK 0x%02X", byte(a.Reason))
	}
	r.ping()
}
