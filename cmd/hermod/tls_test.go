package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hermodmq/hermod/cmd/hermod/config"
)

// certificateFiles are a pair that signs itself, in a folder of the test's.
type certificateFiles struct {
	t      *testing.T
	cert   string
	key    string
	serial int64
}

func newCertificateFiles(t *testing.T) *certificateFiles {
	dir := t.TempDir()
	f := &certificateFiles{t: t, cert: filepath.Join(dir, "server.pem"), key: filepath.Join(dir, "server.key")}
	f.renew()
	return f
}

// renew writes a pair with the next serial number. Files of one length and one
// moment would look the same, so the time of the file is made to differ.
func (f *certificateFiles) renew() {
	f.t.Helper()
	f.serial++
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(f.serial), Subject: pkix.Name{CommonName: "server"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		f.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(f.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	f.write(f.key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
}

func (f *certificateFiles) write(name string, b []byte) {
	f.t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		f.t.Fatal(err)
	}
	at := time.Unix(1_700_000_000+f.serial, 0)
	if err := os.Chtimes(name, at, at); err != nil {
		f.t.Fatal(err)
	}
}

func serial(t *testing.T, c *tls.Config) int64 {
	t.Helper()
	cert, err := x509.ParseCertificate(c.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return cert.SerialNumber.Int64()
}

// TestCertificatesAreLookedAt: the files are looked at no more often than the
// interval says, a pair that does not fit changes nothing until it does, and a
// hang-up looks at once.
func TestCertificatesAreLookedAt(t *testing.T) {
	f := newCertificateFiles(t)
	open := func(interval time.Duration) *certificates {
		cs, err := openCertificates(config.TLS{CertFile: f.cert, KeyFile: f.key, ClientAuth: "none", CheckInterval: interval}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return cs
	}
	cs, never := open(10*time.Second), open(0)
	began := cs.looked
	f.renew()
	for _, step := range []struct {
		after time.Duration
		want  int64
	}{{time.Second, 1}, {9999 * time.Millisecond, 1}, {10 * time.Second, 2}, {11 * time.Second, 2}} {
		if got := serial(t, cs.look(began.Add(step.after), false)); got != step.want {
			t.Errorf("after %v: certificate %d, want %d", step.after, got, step.want)
		}
	}
	// Half of a renewal: the new certificate with the old key.
	old, err := os.ReadFile(f.key)
	if err != nil {
		t.Fatal(err)
	}
	f.renew()
	key, err := os.ReadFile(f.key)
	if err != nil {
		t.Fatal(err)
	}
	f.write(f.key, old)
	if got := serial(t, cs.look(began.Add(20*time.Second), false)); got != 2 {
		t.Errorf("with half of a pair: certificate %d", got)
	}
	f.write(f.key, key)
	if got := serial(t, cs.look(began.Add(21*time.Second), false)); got != 2 {
		t.Errorf("looked at too early: certificate %d", got)
	}
	if got := serial(t, cs.look(began.Add(30*time.Second), false)); got != 3 {
		t.Errorf("with the other half: certificate %d", got)
	}
	f.renew()
	if got := serial(t, cs.look(began.Add(31*time.Second), true)); got != 4 {
		t.Errorf("after a hang-up: certificate %d", got)
	}
	if got := serial(t, never.look(began.Add(time.Hour), false)); got != 1 {
		t.Errorf("without an interval: certificate %d", got)
	}
	if got := serial(t, never.look(began.Add(time.Hour), true)); got != 4 {
		t.Errorf("without an interval, after a hang-up: certificate %d", got)
	}
}
