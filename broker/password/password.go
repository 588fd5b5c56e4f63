// Package password makes and checks salted password hashes: bcrypt for new
// ones, and RabbitMQ's formats so that its users can be imported.
//
// It is the one package below the core that needs golang.org/x/crypto.
package password

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/crypto/bcrypt"
)

// The algorithms, by the names that definitions carry.
const (
	Bcrypt = "hermod_password_hashing_bcrypt"
	SHA256 = "rabbit_password_hashing_sha256"
	SHA512 = "rabbit_password_hashing_sha512"
	MD5    = "rabbit_password_hashing_md5"
)

// Hash is a salted hash of a password in the text form definitions carry.
// The empty Hash matches no password.
type Hash struct {
	Algorithm string
	Text      string
}

const saltSize = 4 // bytes of salt before the hash in RabbitMQ's formats

// DefaultCost is the work factor of new hashes.
const DefaultCost = bcrypt.DefaultCost

// New hashes a password with bcrypt; cost 0 is DefaultCost.
func New(password string, cost int) (Hash, error) {
	if cost == 0 {
		cost = DefaultCost
	}
	b, err := bcrypt.GenerateFromPassword(condensed(password), cost)
	if err != nil {
		return Hash{}, err
	}
	return Hash{Algorithm: Bcrypt, Text: string(b)}, nil
}

// condensed lifts bcrypt's limit of 72 bytes and keeps zero bytes out of it.
func condensed(password string) []byte {
	sum := sha256.Sum256([]byte(password))
	return base64.RawStdEncoding.AppendEncode(nil, sum[:])
}

// Parse checks the text form of a hash; algorithm "" is SHA256, as in
// definitions of RabbitMQ.
func Parse(algorithm, text string) (Hash, error) {
	if algorithm == "" {
		algorithm = SHA256
	}
	h := Hash{Algorithm: algorithm, Text: text}
	if text == "" {
		return h, nil
	}
	if algorithm == Bcrypt {
		if _, err := bcrypt.Cost([]byte(text)); err != nil {
			return Hash{}, fmt.Errorf("password: %w", err)
		}
		return h, nil
	}
	sum := summer(algorithm)
	if sum == nil {
		return Hash{}, fmt.Errorf("password: unknown hashing algorithm %q", algorithm)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != saltSize+len(sum(nil)) {
		return Hash{}, errors.New("password: malformed hash")
	}
	return h, nil
}

// summer returns the digest of an algorithm of RabbitMQ, nil if it is none.
func summer(algorithm string) func([]byte) []byte {
	switch algorithm {
	case SHA256:
		return func(b []byte) []byte { s := sha256.Sum256(b); return s[:] }
	case SHA512:
		return func(b []byte) []byte { s := sha512.Sum512(b); return s[:] }
	case MD5:
		return func(b []byte) []byte { s := md5.Sum(b); return s[:] }
	}
	return nil
}

// Slow reports whether Matches costs a noticeable time.
func (h Hash) Slow() bool { return h.Algorithm == Bcrypt }

// Matches reports whether password is the one that was hashed. The comparison
// takes the same time wherever the difference is.
func (h Hash) Matches(password string) bool {
	if h.Text == "" {
		return false
	}
	if h.Algorithm == Bcrypt {
		return bcrypt.CompareHashAndPassword([]byte(h.Text), condensed(password)) == nil
	}
	sum := summer(h.Algorithm)
	if sum == nil {
		return false
	}
	raw, err := base64.StdEncoding.DecodeString(h.Text)
	if err != nil || len(raw) <= saltSize {
		return false
	}
	got := sum(append(bytes.Clone(raw[:saltSize]), password...))
	return subtle.ConstantTimeCompare(got, raw[saltSize:]) == 1
}
