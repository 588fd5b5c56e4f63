package sns

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"sync"
	"time"

	"github.com/hermodmq/hermod/broker"
)

// signer signs notifications. The key is made when it is first needed, kept in
// the store, and shared by all nodes. Signing costs about a millisecond, so the
// latest signatures are remembered: one serves all subscriptions of a message.
// Who must not stand still asks whether a signature is known, and has it made
// elsewhere.
type signer struct {
	core   *broker.Broker
	region string
	now    func() time.Time

	once sync.Once
	key  *rsa.PrivateKey
	cert []byte // PEM
	path string // of the certificate

	mu     sync.Mutex
	recent map[string]string // what was signed -> signature
	older  map[string]string

	orders chan order
}

// order is a signature that somebody will ask for.
type order struct {
	version string
	text    []byte
}

// Bounds: remembered signatures, twice, of about 0.5 KB each; orders that wait.
const (
	signedMost = 8192
	orderMost  = 4096
)

var keyKind = broker.FactKind("sns.key")

func newSigner(core *broker.Broker, region string, now func() time.Time) *signer {
	s := &signer{core: core, region: region, now: now, recent: make(map[string]string), orders: make(chan order, orderMost)}
	for _, d := range core.TakeFacts(keyKind) {
		if key, err := x509.ParsePKCS1PrivateKey(d.Value); err == nil {
			s.key = key
		}
	}
	return s
}

// load makes what signing needs. A certificate follows from the key alone.
func (s *signer) load() {
	s.once.Do(func() {
		if s.key == nil {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				panic("sns: no randomness: " + err.Error())
			}
			s.key = key
			s.core.StoreFacts([]broker.Definition{{Kind: keyKind, Key: "1", Value: x509.MarshalPKCS1PrivateKey(key)}}, nil)
		}
		id := sha256.Sum256(x509.MarshalPKCS1PublicKey(&s.key.PublicKey))
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		c := &x509.Certificate{
			SerialNumber: new(big.Int).SetBytes(id[:16]), NotBefore: start, NotAfter: start.AddDate(50, 0, 0),
			Subject:  pkix.Name{CommonName: "sns." + s.region + ".amazonaws.com", Organization: []string{"Hermod"}},
			KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		}
		der, err := x509.CreateCertificate(rand.Reader, c, c, &s.key.PublicKey, s.key)
		if err != nil {
			panic("sns: certificate: " + err.Error())
		}
		s.cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		s.path = "/SimpleNotificationService-" + hex.EncodeToString(id[:16]) + ".pem"
	})
}

// certPath is the path under which the certificate is served.
func (s *signer) certPath() string {
	s.load()
	return s.path
}

// sign returns the signature of text, in base64: version 1 is SHA-1, version 2
// SHA-256, both RSA with PKCS #1 v1.5.
func (s *signer) sign(version string, text []byte) string {
	s.load()
	digest := sha256.Sum256(text)
	key := version + string(digest[:])
	if sig, ok := s.remembered(key); ok {
		return sig
	}
	var raw []byte
	var err error
	if version == "2" {
		raw, err = rsa.SignPKCS1v15(nil, s.key, crypto.SHA256, digest[:])
	} else {
		old := sha1.Sum(text)
		raw, err = rsa.SignPKCS1v15(nil, s.key, crypto.SHA1, old[:])
	}
	if err != nil {
		panic("sns: signing: " + err.Error())
	}
	sig := base64.StdEncoding.EncodeToString(raw)
	s.mu.Lock()
	if len(s.recent) >= signedMost {
		s.older, s.recent = s.recent, make(map[string]string)
	}
	s.recent[key] = sig
	s.mu.Unlock()
	return sig
}

// known returns a signature that was made lately.
func (s *signer) known(version string, text []byte) (string, bool) {
	digest := sha256.Sum256(text)
	return s.remembered(version + string(digest[:]))
}

func (s *signer) remembered(key string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sig, ok := s.recent[key]
	if !ok {
		sig, ok = s.older[key]
	}
	return sig, ok
}

// order has a signature made soon, unless too many are being waited for: then
// whoever needs it makes it.
func (s *signer) order(version string, text []byte) {
	select {
	case s.orders <- order{version, text}:
	default:
	}
}

// work makes what was ordered until done is closed.
func (s *signer) work(done <-chan struct{}) {
	for {
		select {
		case o := <-s.orders:
			s.sign(o.version, o.text)
		case <-done:
			return
		}
	}
}

// signedText builds the text that a signature covers: names and values on lines of
// their own.
func signedText(pairs ...string) []byte {
	var b []byte
	for i := 0; i+1 < len(pairs); i += 2 {
		b = append(append(b, pairs[i]...), '\n')
		b = append(append(b, pairs[i+1]...), '\n')
	}
	return b
}
