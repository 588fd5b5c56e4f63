package endpoint

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/broker"
)

// Key is an access key of a user.
type Key struct {
	ID      string
	Secret  string
	User    string
	Account string // 12 digits; "" is the default account
}

// accessKey is a key and what is known of it. It is replaced, never changed,
// lastUsed excepted.
type accessKey struct {
	Key
	stored   bool  // in the store, not in the configuration
	created  int64 // Unix ms; 0: configured
	lastUsed atomic.Int64
}

// KeyStatus describes a key to operators; the secret is not for them.
type KeyStatus struct {
	ID       string `json:"access_key_id"`
	User     string `json:"user"`
	Account  string `json:"account"`
	Source   string `json:"source"`    // stored or configured
	Created  string `json:"created"`   // RFC 3339; "" is not known
	LastUsed string `json:"last_used"` // RFC 3339; "" is not since this node is active
}

// Bounds of keys.
const (
	maxUserKeys = 32 // stored ones, of one user
	maxKeyID    = 128
	maxSecret   = 256
)

// keyKind is the kind of the facts that hold stored keys, by identifier.
var keyKind = broker.FactKind("aws.key")

// keyRecord is the stored form of a key. The secret is sealed, so that neither
// dumps of the log nor its readers show it by chance; who has the whole store
// can open it, and encryption at rest is the answer to that.
type keyRecord struct {
	User    string `json:"user"`
	Account string `json:"account"`
	Created int64  `json:"created"` // Unix ms
	Sealed  []byte `json:"sealed"`
}

// Errors of changes of keys.
var (
	errNoKey      = errors.New("no such access key")
	errConfigured = errors.New("the access key is in the configuration, where it has to be removed")
	errKeyExists  = errors.New("there is an access key of this identifier")
	errManyKeys   = fmt.Errorf("a user may have %d access keys", maxUserKeys)
)

func (e *Endpoint) keySeal() cipher.AEAD {
	key := e.Secret("access keys")
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the size is right
	}
	seal, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // as AES blocks are
	}
	return seal
}

func (e *Endpoint) keyFact(k *accessKey) broker.Definition {
	seal := e.keySeal()
	nonce := make([]byte, seal.NonceSize())
	rand.Read(nonce)
	raw, _ := json.Marshal(keyRecord{k.User, k.Account, k.created, seal.Seal(nonce, nonce, []byte(k.Secret), []byte(k.ID))})
	return broker.Definition{Kind: keyKind, Key: k.ID, Value: raw}
}

// recoverKeys takes the keys from the store. Those of the configuration win.
func (e *Endpoint) recoverKeys() {
	seal := e.keySeal()
	for _, d := range e.core.TakeFacts(keyKind) {
		var r keyRecord
		err := json.Unmarshal(d.Value, &r)
		if err == nil && len(r.Sealed) < seal.NonceSize() {
			err = errors.New("too short")
		}
		var secret []byte
		if err == nil {
			n := seal.NonceSize()
			secret, err = seal.Open(nil, r.Sealed[:n], r.Sealed[n:], []byte(d.Key))
		}
		if err != nil {
			e.opt.Logger.Error("stored access key cannot be used", "key", d.Key, "error", err)
			continue
		}
		if _, ok := e.keys[d.Key]; !ok {
			e.keys[d.Key] = &accessKey{Key: Key{d.Key, string(secret), r.User, r.Account}, stored: true, created: r.Created}
		}
	}
	e.core.SetUserFacts(e.dropKeysOf)
}

// dropKeysOf implements broker.UserFacts.
func (e *Endpoint) dropKeysOf(user string) (string, []string) {
	e.keysMu.Lock()
	defer e.keysMu.Unlock()
	var ids []string
	for id, k := range e.keys {
		if k.stored && k.User == user {
			ids = append(ids, id)
			delete(e.keys, id)
		}
	}
	return keyKind, ids
}

func (e *Endpoint) key(id string) (*accessKey, bool) {
	e.keysMu.RLock()
	k, ok := e.keys[id]
	e.keysMu.RUnlock()
	return k, ok
}

func (e *Endpoint) keyless() bool {
	e.keysMu.RLock()
	defer e.keysMu.RUnlock()
	return len(e.keys) == 0
}

// CreateKey makes a new access key of a user. account is "" for the default
// one. It is durable when done runs.
func (e *Endpoint) CreateKey(user, account string, done func(*broker.Turn)) (Key, error) {
	raw := make([]byte, 30)
	rand.Read(raw)
	k := Key{ID: "AKIA" + rand.Text()[:16], Secret: base64.StdEncoding.EncodeToString(raw), User: user, Account: account}
	return k, e.storeKeys([]Key{k}, false, done)
}

// storeKeys checks keys and stores them, all or none. known keys are replaced
// if that is wanted.
func (e *Endpoint) storeKeys(list []Key, replace bool, done func(*broker.Turn)) error {
	now := e.opt.Now().UnixMilli()
	made := make([]*accessKey, len(list))
	for i, k := range list {
		k.Account = cmp.Or(k.Account, e.opt.Account)
		switch {
		case k.ID == "" || len(k.ID) > maxKeyID || !word(k.ID) || strings.HasPrefix(k.ID, temporaryPrefix):
			return fmt.Errorf("access key %q: not an identifier of 1 to %d letters and digits that does not begin with %s", k.ID, maxKeyID, temporaryPrefix)
		case len(k.Secret) < 8 || len(k.Secret) > maxSecret:
			return fmt.Errorf("access key %s: the secret must have 8 to %d characters", k.ID, maxSecret)
		case e.VHostOf(k.Account) == nil:
			return fmt.Errorf("access key %s: account %q has no virtual host; see aws.accounts", k.ID, k.Account)
		}
		if _, err := e.core.Renew(k.User); err != nil {
			return fmt.Errorf("no user %q", k.User)
		}
		made[i] = &accessKey{Key: k, stored: true, created: now}
	}
	e.keyChanges.Lock()
	defer e.keyChanges.Unlock()
	if err := e.roomFor(made, replace); err != nil {
		return err
	}
	facts := make([]broker.Definition, len(made))
	for i, k := range made {
		facts[i] = e.keyFact(k)
	}
	e.core.StoreFacts(facts, done)
	e.keysMu.Lock()
	for _, k := range made {
		e.keys[k.ID] = k
	}
	e.keysMu.Unlock()
	for _, k := range made {
		if _, err := e.core.Renew(k.User); err != nil { // deleted meanwhile
			_, ids := e.dropKeysOf(k.User)
			for _, id := range ids {
				e.core.StoreFacts([]broker.Definition{{Kind: keyKind, Key: id, Delete: true}}, nil)
			}
		}
	}
	return nil
}

// roomFor checks that keys may be stored. e.keyChanges is held.
func (e *Endpoint) roomFor(made []*accessKey, replace bool) error {
	e.keysMu.RLock()
	defer e.keysMu.RUnlock()
	count := make(map[string]int)
	for _, k := range e.keys {
		if k.stored {
			count[k.User]++
		}
	}
	for _, k := range made {
		if old := e.keys[k.ID]; old != nil {
			if !old.stored {
				return fmt.Errorf("%s: %w", k.ID, errConfigured)
			}
			if !replace {
				return errKeyExists
			}
			count[old.User]--
		}
		if count[k.User]++; count[k.User] > maxUserKeys {
			return errManyKeys
		}
	}
	return nil
}

func word(s string) bool {
	for i := range len(s) {
		if c := s[i]; !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// DeleteKey takes a stored key away: at once in memory, durably when done runs.
func (e *Endpoint) DeleteKey(id string, done func(*broker.Turn)) error {
	e.keyChanges.Lock()
	defer e.keyChanges.Unlock()
	switch k, _ := e.key(id); {
	case k == nil:
		return errNoKey
	case !k.stored:
		return errConfigured
	}
	e.keysMu.Lock()
	delete(e.keys, id)
	e.keysMu.Unlock()
	e.core.StoreFacts([]broker.Definition{{Kind: keyKind, Key: id, Delete: true}}, done)
	return nil
}

// ListKeys lists the keys, of one user unless that is "".
func (e *Endpoint) ListKeys(user string) []KeyStatus {
	e.keysMu.RLock()
	defer e.keysMu.RUnlock()
	list := []KeyStatus{}
	for _, k := range e.keys {
		if user != "" && k.User != user {
			continue
		}
		s := KeyStatus{ID: k.ID, User: k.User, Account: k.Account, Source: "configured", Created: when(k.created), LastUsed: when(k.lastUsed.Load())}
		if k.stored {
			s.Source = "stored"
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b KeyStatus) int { return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.ID, b.ID)) })
	return list
}

// when is a time in Unix ms as text; "" if it is 0.
func when(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339)
}

// ImportKeys stores the keys of a file of definitions: its list
// "aws_access_keys" of objects with access_key_id, secret_access_key, user and,
// if it is not the default, account. Keys that are there are replaced. done
// runs in any case unless there is an error.
func (e *Endpoint) ImportKeys(definitions []byte, done func(*broker.Turn)) error {
	var file struct {
		Keys []struct {
			ID      string `json:"access_key_id"`
			Secret  string `json:"secret_access_key"`
			User    string `json:"user"`
			Account string `json:"account"`
		} `json:"aws_access_keys"`
	}
	if err := json.Unmarshal(definitions, &file); err != nil {
		return err
	}
	list := make([]Key, len(file.Keys))
	for i, k := range file.Keys {
		list[i] = Key(k)
	}
	return e.storeKeys(list, true, done)
}

// secretOf implements aws.Secret.
func (e *Endpoint) secretOf(id string) (string, bool) {
	if k, ok := e.key(id); ok {
		return k.Secret, true
	}
	if strings.HasPrefix(id, temporaryPrefix) {
		return e.temporarySecret(id), true
	}
	return "", false
}

// owner finds whom verified credentials belong to.
func (e *Endpoint) owner(cred aws.Credential) (user, account, role string, err *aws.Error) {
	if k, ok := e.key(cred.Key); ok {
		k.lastUsed.Store(e.opt.Now().UnixMilli())
		return k.User, k.Account, "", nil
	}
	s, err := e.openToken(cred)
	return s.User, s.Account, s.Role, err
}
