package endpoint

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/hermodmq/hermod/bridge/aws"
)

// relaxed reports whether the call needs no proof.
func (e *Endpoint) relaxed(c *Call) bool {
	switch e.opt.Auth {
	case AuthRelaxed:
		return true
	case AuthStrict:
		return false
	}
	return c.peer.Address.IsLoopback() && e.keyless() && !c.forwarded()
}

// forwarded reports whether a proxy says that it brought the request: then the
// peer's address says nothing about the client.
func (c *Call) forwarded() bool {
	for _, name := range []string{"forwarded", "x-forwarded-for", "x-real-ip", "via"} {
		if c.request.Header.Get(name) != "" {
			return true
		}
	}
	return false
}

// authenticate finds the caller. Who proves nothing is a caller in relaxed
// mode, and nobody for actions that are open to all.
func (e *Endpoint) authenticate(c *Call) *aws.Error {
	signed := c.signed()
	if e.relaxed(c) {
		cred, _ := aws.Identify(&signed)
		return e.takeRelaxed(c, cred)
	}
	cred, err := e.verifier.Verify(&signed, e.opt.Now())
	if err == aws.ErrMissingToken {
		if a, ok := c.service.service.(Anonymous); ok && a.Anonymous(c.Action) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	return e.takeVerified(c, cred)
}

func (e *Endpoint) takeVerified(c *Call, cred aws.Credential) *aws.Error {
	user, account, role, err := e.owner(cred)
	if err != nil {
		return err
	}
	return e.enter(c, user, account, cred.Key, role, false)
}

// takeRelaxed acts for the configured user; a known key for its own.
func (e *Endpoint) takeRelaxed(c *Call, cred aws.Credential) *aws.Error {
	user, account, key := e.opt.RelaxedUser, e.opt.Account, ""
	if cred.Key != "" {
		key = cred.Key
		if k, ok := e.key(key); ok {
			user, account = k.User, k.Account
		} else if _, ok := e.vhosts[key]; ok {
			account = strings.Clone(key) // for tests across accounts: a key of 12 digits is the account
		} else {
			key = "test"
		}
	}
	return e.enter(c, user, account, key, "", true)
}

func (e *Endpoint) enter(c *Call, user, account, key, role string, local bool) *aws.Error {
	caller, err := e.caller(callerKey{user, account, role, local}, key)
	if err != nil {
		e.opt.Logger.Warn("aws caller refused", "user", user, "account", account, "error", err)
		return aws.ErrUnknownKey
	}
	c.Caller = caller
	return nil
}

// Temporary credentials are made of nothing but the broker's secret: the token
// says who and until when, and is sealed; the secret is derived from the key.
const temporaryPrefix = "ASIA"

type session struct {
	Key     string `json:"k"`
	User    string `json:"u"`
	Account string `json:"a"`
	Role    string `json:"r,omitempty"` // role/session
	Until   int64  `json:"e"`           // Unix seconds
}

func (e *Endpoint) temporarySecret(id string) string {
	key := e.Secret("temporary")
	m := hmac.New(sha256.New, key[:])
	m.Write([]byte(id))
	return base64.StdEncoding.EncodeToString(m.Sum(nil))[:40]
}

func (e *Endpoint) seal(s session) string {
	raw, _ := json.Marshal(s) // strings and a number
	key := e.Secret("token")
	m := hmac.New(sha256.New, key[:])
	m.Write(raw)
	return base64.StdEncoding.EncodeToString(append(m.Sum(nil), raw...))
}

func (e *Endpoint) openToken(cred aws.Credential) (session, *aws.Error) {
	var s session
	raw, err := base64.StdEncoding.DecodeString(cred.Token)
	if err != nil || len(raw) < sha256.Size {
		return s, aws.ErrUnknownKey
	}
	key := e.Secret("token")
	m := hmac.New(sha256.New, key[:])
	m.Write(raw[sha256.Size:])
	if !hmac.Equal(m.Sum(nil), raw[:sha256.Size]) || json.Unmarshal(raw[sha256.Size:], &s) != nil || s.Key != cred.Key {
		return s, aws.ErrUnknownKey
	}
	if e.opt.Now().Unix() >= s.Until {
		return s, aws.ErrExpiredToken
	}
	return s, nil
}

// uniqueID is a stable identifier as IAM gives users: a prefix and 17 letters.
func uniqueID(prefix, of string) string {
	sum := sha256.Sum256([]byte(of))
	return prefix + strings.ToUpper(hex.EncodeToString(sum[:9]))[:17]
}
