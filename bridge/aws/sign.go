package aws

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"time"
)

// Signer signs requests of a client with one access key for one region and
// service. It is for one goroutine.
type Signer struct {
	Key, Secret, Token string
	Region, Service    string

	day string
	key *signer
	buf []byte
}

// Sign returns the Authorization header of a request, whose headers must hold
// host and x-amz-date with the given time, and x-amz-security-token if there is
// a token. All of list is signed; names are in lower case and sorted.
func (s *Signer) Sign(method, path, query string, list []Header, body []byte, now time.Time) string {
	now = now.UTC()
	sig := signature{Credential: Credential{Key: s.Key, Region: s.Region, Service: s.Service}, at: now, stamp: now.Format(dateForm)}
	sig.day = sig.stamp[:8]
	if s.key == nil || s.day != sig.day {
		s.day, s.key = sig.day, newSigner(s.Secret, sig.day, s.Region, s.Service)
	}
	for i, h := range list {
		if i > 0 {
			sig.headers += ";"
		}
		sig.headers += h.Name
	}
	r := &Signed{Method: method, Path: path, Query: query, Body: body, Headers: list}
	s.buf = sig.appendCanonical(s.buf[:0], r, false)
	sum := sha256.Sum256(s.buf)
	s.buf = sig.appendStringToSign(s.buf[:0], sum[:])
	mac := s.key.macs.Get().(hash.Hash)
	mac.Reset()
	mac.Write(s.buf)
	s.buf = mac.Sum(s.buf[:0])
	s.key.macs.Put(mac)
	return algorithm + " Credential=" + s.Key + "/" + sig.day + "/" + s.Region + "/" + s.Service + "/" + terminator +
		", SignedHeaders=" + sig.headers + ", Signature=" + hex.EncodeToString(s.buf)
}
