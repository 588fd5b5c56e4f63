package broker

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"runtime"
	"slices"
	"sync"

	"github.com/hermodmq/hermod/broker/password"
)

// Credentials are what a client presents.
type Credentials struct {
	Mechanism    string // "PLAIN", "AMQPLAIN", "EXTERNAL", "ANONYMOUS"
	User         string
	Password     string
	PeerIdentity string // the name a verified client certificate proves; for EXTERNAL
	Loopback     bool   // the client connects from this machine
}

// Login finds out who presents c. It can take 100 ms: never call it on an
// event loop. The error is Denied and never says why.
func (b *Broker) Login(c Credentials) (*User, error) {
	return b.admitted(b.identify(c), c)
}

// LoginAtOnce is Login where that takes no time: the client presents no password,
// or one that was accepted a moment ago. ok is false if Login has to be asked; the
// client is neither admitted nor refused then. An event loop may call it.
func (b *Broker) LoginAtOnce(c Credentials) (u *User, ok bool) {
	if c.Mechanism != "EXTERNAL" && c.Mechanism != "ANONYMOUS" {
		a := b.auth.account(c.User)
		if a == nil || !b.logins.known(a, b.logins.digest(c.User, c.Password), b.now.Load()) {
			return nil, false
		}
		u, err := b.admitted(a, c)
		return u, err == nil
	}
	u, err := b.admitted(b.identify(c), c)
	return u, err == nil
}

// ScramName is the name of the mechanism NewScram is for.
const ScramName = password.ScramName

// NewScram begins a login with SCRAM-SHA-256. What it proves goes to LoginProved.
func (b *Broker) NewScram() *password.ScramExchange {
	return &password.ScramExchange{Keys: b.scramKeys}
}

// scramKeys returns the keys of a user for SCRAM-SHA-256, or others and false if
// there is no such user or none are known; they are always the same for a name.
func (b *Broker) scramKeys(user string) (password.Scram, bool) {
	if a := b.auth.account(user); a != nil && a.scram.Iterations > 0 {
		return a.scram, true
	}
	return password.DecoyScram(b.logins.salt[:], user), false
}

// LoginProved is Login for a client that has proved otherwise that it is c.User.
func (b *Broker) LoginProved(c Credentials) (*User, error) {
	return b.admitted(b.auth.account(c.User), c)
}

// admitted applies what holds for every login.
func (b *Broker) admitted(a *account, c Credentials) (*User, error) {
	if a == nil {
		return nil, errf(Denied, "Login was refused using authentication mechanism %s. "+
			"For details see the broker logfile.", c.Mechanism)
	}
	if !c.Loopback && slices.Contains(b.options.LoopbackUsers, a.Name) {
		b.log.Warn("login refused", "user", a.Name, "reason", "user can only connect via localhost")
		return nil, errf(Denied, "Login was refused using authentication mechanism %s. "+
			"For details see the broker logfile.", c.Mechanism)
	}
	u := a.User
	return &u, nil
}

// Renew answers a client that presents a new secret on a running connection.
// Passwords of internal users do not expire, so the secret is not looked at,
// as with RabbitMQ's internal backend; what counts is that the user still
// exists. The error is Denied.
func (b *Broker) Renew(name string) (*User, error) {
	a := b.auth.account(name)
	if a == nil {
		return nil, errf(Denied, "New secret was refused by one of the backends")
	}
	return &a.User, nil
}

// identify returns the account, or nil.
func (b *Broker) identify(c Credentials) *account {
	switch c.Mechanism {
	case "EXTERNAL":
		if c.PeerIdentity == "" {
			return nil
		}
		return b.auth.account(c.PeerIdentity)
	case "ANONYMOUS":
		if b.options.Anonymous == "" {
			return nil
		}
		return b.auth.account(b.options.Anonymous)
	}
	a := b.auth.account(c.User)
	if b.logins.verify(a, c.User, c.Password, b.now.Load()) {
		return a
	}
	b.log.Warn("login refused", "user", c.User, "mechanism", c.Mechanism, "reason", "invalid credentials")
	return nil
}

// loginCache remembers for a short time which password an account accepted,
// so that ten thousand clients that reconnect with one user cost one slow
// hash and not ten thousand. It holds salted digests, not passwords.
type loginCache struct {
	salt  [32]byte
	decoy password.Hash // compared for users that do not exist
	cost  int
	slots chan struct{} // bounds the slow hashes that run at once

	mu      sync.Mutex
	entries map[string]loginEntry
}

type loginEntry struct {
	account *account
	digest  [sha256.Size]byte
	until   int64
}

const (
	loginCacheTime = 60_000 // ms
	maxLogins      = 4096
)

func (l *loginCache) init(cost int) error {
	rand.Read(l.salt[:])
	l.cost = cost
	l.entries = make(map[string]loginEntry)
	l.slots = make(chan struct{}, runtime.GOMAXPROCS(0))
	decoy, err := password.New(rand.Text(), cost)
	l.decoy = decoy
	return err
}

// verify reports whether pw is the password of a, which is nil if there is no
// such user: that takes as long as a wrong password.
func (l *loginCache) verify(a *account, name, pw string, now int64) bool {
	if a == nil {
		l.slow(func() bool { return l.decoy.Matches(pw) })
		return false
	}
	digest := l.digest(name, pw)
	if l.known(a, digest, now) {
		return true
	}
	ok := l.slow(func() bool {
		// Others may have waited for the same hash: look again.
		return l.known(a, digest, now) || a.hash.Matches(pw)
	})
	if ok {
		l.remember(a, digest, now)
	} else if !a.hash.Slow() {
		// A fast hash must not tell that the user exists.
		l.slow(func() bool { return l.decoy.Matches(pw) })
	}
	return ok
}

func (l *loginCache) slow(f func() bool) bool {
	l.slots <- struct{}{}
	defer func() { <-l.slots }()
	return f()
}

func (l *loginCache) digest(name, pw string) [sha256.Size]byte {
	h := sha256.New()
	h.Write(l.salt[:])
	h.Write([]byte(name))
	h.Write([]byte{0})
	h.Write([]byte(pw))
	return [sha256.Size]byte(h.Sum(nil))
}

// known compares accounts by identity: a changed one is another.
func (l *loginCache) known(a *account, digest [sha256.Size]byte, now int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.entries[a.Name]
	return ok && e.account == a && now < e.until && subtle.ConstantTimeCompare(e.digest[:], digest[:]) == 1
}

func (l *loginCache) remember(a *account, digest [sha256.Size]byte, now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.entries) >= maxLogins {
		clear(l.entries)
	}
	l.entries[a.Name] = loginEntry{account: a, digest: digest, until: now + loginCacheTime}
}
