package persistence

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
)

const (
	gcmOverhead = 16
	dataKeySize = 32
	saltSize    = 16
)

// KeyWrapper protects data keys with a key that the store never sees: a key
// management service, a hardware module. Wrap is called when a data directory
// is first encrypted, Unwrap once per data key at Open and when the log brings
// a key of another node. Both may block; neither may retain its argument.
// Unwrap returns ErrWrongKey for a key that is not its own.
type KeyWrapper interface {
	Wrap(id uint32, key []byte) (wrapped []byte, err error)
	Unwrap(id uint32, wrapped []byte) (key []byte, err error)
}

// masterKey is the KeyWrapper of a key at hand.
type masterKey struct{ aead cipher.AEAD }

func (m masterKey) Wrap(id uint32, key []byte) ([]byte, error) {
	nonce := make([]byte, 12, 12+dataKeySize+gcmOverhead)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return m.aead.Seal(nonce, nonce, key, wrapLabel(id)), nil
}

func (m masterKey) Unwrap(id uint32, wrapped []byte) ([]byte, error) {
	if len(wrapped) != 12+dataKeySize+gcmOverhead {
		return nil, fmt.Errorf("%w: data key of %d bytes", ErrFormat, len(wrapped))
	}
	key, err := m.aead.Open(nil, wrapped[:12], wrapped[12:], wrapLabel(id))
	if err != nil {
		return nil, ErrWrongKey
	}
	return key, nil
}

// keyring holds the data keys. A nil keyring encrypts nothing.
//
// Every use derives its own key by HKDF from a data key and something that is
// never used twice: the random epoch of a process for entries, the random salt
// of a file for segments, the random salt of a process for metadata values.
// Under such a key nonces are counters, so that no nonce ever repeats.
type keyring struct {
	master  KeyWrapper // nil: no encryption
	current uint32     // data key of what is written now; 0: do not encrypt
	nameKey uint32     // data key that hides names; never changes, or a definition would have two rows

	mu      sync.Mutex
	keys    map[uint32]dataKey
	entries map[[12]byte]cipher.AEAD
	values  map[[4 + saltSize]byte]cipher.AEAD

	valueSalt  [saltSize]byte
	valueCount atomic.Uint64
}

type dataKey struct {
	plain   []byte
	wrapped []byte
}

func newKeyring(master []byte, wrapper KeyWrapper) (*keyring, error) {
	k := &keyring{keys: map[uint32]dataKey{}, entries: map[[12]byte]cipher.AEAD{}, values: map[[4 + saltSize]byte]cipher.AEAD{}}
	switch {
	case wrapper != nil:
		k.master = wrapper
	case len(master) != 0:
		aead, err := newAEAD(master)
		if err != nil {
			return nil, err
		}
		k.master = masterKey{aead}
	}
	_, err := rand.Read(k.valueSalt[:])
	return k, err
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (k *keyring) enabled() bool { return k != nil && k.current != 0 }

func (k *keyring) has(id uint32) bool {
	if k == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.keys[id]
	return ok
}

// wrapped returns a data key as it is stored.
func (k *keyring) wrapped(id uint32) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys[id].wrapped
}

// create makes a new data key and uses it from now on.
func (k *keyring) create() error {
	var raw [4 + dataKeySize]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return err
	}
	id := max(binary.LittleEndian.Uint32(raw[:]), 1)
	plain := raw[4:]
	wrapped, err := k.master.Wrap(id, plain)
	if err != nil {
		return fmt.Errorf("persistence: wrap the data key: %w", err)
	}
	k.keys[id] = dataKey{plain: plain, wrapped: wrapped}
	k.current = id
	if k.nameKey == 0 {
		k.nameKey = id
	}
	return nil
}

func wrapLabel(id uint32) []byte {
	return binary.LittleEndian.AppendUint32([]byte("hermod data key "), id)
}

// add unwraps a data key read from metadata or from a key record.
func (k *keyring) add(id uint32, wrapped []byte) error {
	if k.master == nil {
		return ErrKeyRequired
	}
	plain, err := k.master.Unwrap(id, wrapped)
	if err != nil {
		return fmt.Errorf("persistence: unwrap the data key: %w", err)
	}
	if len(plain) != dataKeySize {
		return fmt.Errorf("%w: data key of %d bytes", ErrFormat, len(plain))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[id] = dataKey{plain: plain, wrapped: append([]byte(nil), wrapped...)}
	return nil
}

// addRow is add for a row of the metadata.
func (k *keyring) addRow(key, wrapped []byte) error {
	if len(key) != 4 {
		return &CorruptionError{File: "meta", Reason: "key row"}
	}
	return k.add(binary.BigEndian.Uint32(key), wrapped)
}

func (k *keyring) derive(id uint32, label string, unique []byte) cipher.AEAD {
	key, err := hkdf.Key(sha256.New, k.keys[id].plain, unique, label, dataKeySize)
	if err != nil {
		panic(err) // lengths are constants
	}
	aead, err := newAEAD(key)
	if err != nil {
		panic(err)
	}
	return aead
}

func (k *keyring) entryAEAD(id uint32, epoch uint64) cipher.AEAD {
	var name [12]byte
	binary.LittleEndian.PutUint32(name[:], id)
	binary.LittleEndian.PutUint64(name[4:], epoch)
	k.mu.Lock()
	defer k.mu.Unlock()
	aead, ok := k.entries[name]
	if !ok {
		aead = k.derive(id, "hermod entry", name[4:])
		k.entries[name] = aead
	}
	return aead
}

func (k *keyring) segmentAEAD(id uint32, salt []byte) cipher.AEAD {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.derive(id, "hermod segment", salt)
}

func (k *keyring) valueAEAD(id uint32, salt []byte) cipher.AEAD {
	var name [4 + saltSize]byte
	binary.LittleEndian.PutUint32(name[:], id)
	copy(name[4:], salt)
	k.mu.Lock()
	defer k.mu.Unlock()
	aead, ok := k.values[name]
	if !ok {
		aead = k.derive(id, "hermod metadata", salt)
		k.values[name] = aead
	}
	return aead
}

func counterNonce(n uint64) []byte {
	nonce := make([]byte, 12)
	binary.LittleEndian.PutUint64(nonce[4:], n)
	return nonce
}

// sealValue appends key id, salt, counter and the sealed value.
func (k *keyring) sealValue(dst, plain []byte) []byte {
	n := k.valueCount.Add(1)
	dst = binary.LittleEndian.AppendUint32(dst, k.current)
	dst = append(dst, k.valueSalt[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, n)
	return k.valueAEAD(k.current, k.valueSalt[:]).Seal(dst, counterNonce(n), plain, nil)
}

func (k *keyring) openValue(b []byte) ([]byte, error) {
	r := reader{b: b}
	id, salt, n := r.uint32(), r.take(saltSize), r.uint64()
	if r.bad {
		return nil, &CorruptionError{File: "meta", Reason: "sealed value cut short"}
	}
	if !k.has(id) {
		return nil, ErrKeyRequired
	}
	plain, err := k.valueAEAD(id, salt).Open(nil, counterNonce(n), r.b, nil)
	if err != nil {
		return nil, &CorruptionError{File: "meta", Reason: "sealed value does not decrypt"}
	}
	return plain, nil
}

// hideName turns a name into a key that tells nothing about it.
func (k *keyring) hideName(name []byte) []byte {
	k.mu.Lock()
	mac := hmac.New(sha256.New, k.keys[k.nameKey].plain)
	k.mu.Unlock()
	mac.Write([]byte("hermod name"))
	mac.Write(name)
	return mac.Sum(nil)
}

func digest(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}
