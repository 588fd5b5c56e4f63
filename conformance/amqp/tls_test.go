package amqpconf

import (
	"bytes"
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
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// authority issues certificates for one test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir(), next: 1}
	a.key = a.newKey()
	template := a.template("Conformance CA")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	must(t, err)
	a.cert, err = x509.ParseCertificate(der)
	must(t, err)
	a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	return key
}

func (a *authority) template(name string) *x509.Certificate {
	a.next++
	return &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func (a *authority) write(name, kind string, der []byte) string {
	path := filepath.Join(a.dir, name)
	must(a.t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return path
}

// issue writes NAME.pem and NAME.key and returns their paths.
func (a *authority) issue(name string) (cert, key string) {
	k := a.newKey()
	der, err := x509.CreateCertificate(rand.Reader, a.template(name), a.cert, &k.PublicKey, a.key)
	must(a.t, err)
	keyDER, err := x509.MarshalECPrivateKey(k)
	must(a.t, err)
	return a.write(name+".pem", "CERTIFICATE", der), a.write(name+".key", "EC PRIVATE KEY", keyDER)
}

// client is a TLS configuration that trusts the authority; with a name it
// shows a certificate of that name.
func (a *authority) client(name string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	c := &tls.Config{RootCAs: pool, ServerName: "localhost"}
	if name != "" {
		pair, err := tls.LoadX509KeyPair(a.issue(name))
		must(a.t, err)
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// startTLS starts a broker with a TLS listener and returns its address.
func startTLS(t *testing.T, a *authority, clientAuth string) (target, string) {
	t.Helper()
	cert, key := a.issue("localhost")
	b := startOwn(t, "listeners.amqp.tls_address=127.0.0.1:0", "tls.cert_file="+cert, "tls.key_file="+key,
		"tls.ca_file="+filepath.Join(a.dir, "ca.pem"), "tls.client_auth="+clientAuth)
	for name, addr := range b.own.Listeners() {
		if name != "amqp" && strings.HasPrefix(name, "amqp") {
			return b, addr
		}
	}
	t.Fatalf("no TLS listener announced: %v", b.own.Listeners())
	return b, ""
}

func TestAMQP20_TLS(t *testing.T) {
	a := newAuthority(t)
	_, addr := startTLS(t, a, "none")
	conn, err := amqp.DialTLS("amqps://guest:guest@"+addr+"/", a.client(""))
	must(t, err)
	defer func() { _ = conn.Close() }()
	ch := confirming(t, conn)
	q, err := ch.QueueDeclare("", false, false, true, false, nil)
	must(t, err)
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB: many TLS records
	if !confirm(t, ch, "", q.Name, amqp.Publishing{Body: body}) {
		t.Fatal("nacked")
	}
	if d := get(t, ch, q.Name, true); !bytes.Equal(d.Body, body) {
		t.Errorf("body of %d bytes differs", len(d.Body))
	}
}

func TestAMQP20_MutualTLSAndExternal(t *testing.T) {
	a := newAuthority(t)
	b, addr := startTLS(t, a, "require")
	if conn, err := amqp.DialTLS("amqps://guest:guest@"+addr+"/", a.client("")); err == nil {
		_ = conn.Close()
		t.Error("connected without a client certificate")
	}
	user := "cert-user"
	b.admin.user(t, user)
	b.admin.permit(t, "/", user, ".*", ".*", ".*")
	conn, err := amqp.DialTLS_ExternalAuth("amqps://"+addr+"/", a.client(user))
	if err != nil {
		t.Fatalf("EXTERNAL: %v", err)
	}
	defer func() { _ = conn.Close() }()
	ch := confirming(t, conn)
	if !confirm(t, ch, "amq.fanout", "", amqp.Publishing{UserId: user}) {
		t.Error("nacked")
	}
}

func TestAMQP20_ProxyProtocol(t *testing.T) {
	b := startOwn(t, "listeners.amqp.proxy_protocol=true")
	v2 := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), 127, 0, 0, 9, 127, 0, 0, 1, 0x9c, 0x40, 0x16, 0x28)
	for name, header := range map[string][]byte{
		"v1": []byte("PROXY TCP4 127.0.0.9 127.0.0.1 40000 5672\r\n"),
		"v2": v2,
	} {
		t.Run("AMQP-20 "+name, func(t *testing.T) {
			r := rawDial(t, b.addr)
			r.write(header)
			r.start(guest)
			r.tune(guest)
			r.expect(0, connectionOpenOK)
			if out := b.admin.do(t, "list_connections", "peer_host"); !strings.Contains(out, "127.0.0.9") {
				t.Errorf("connections = %q, want the address the proxy names", out)
			}
		})
	}
	t.Run("AMQP-20 a header is required", func(t *testing.T) {
		r := rawDial(t, b.addr)
		r.write(protocolHeader)
		r.expectEOF()
	})
}
