package broker

import (
	"sync"
	"testing"

	"github.com/hermodmq/hermod/broker/password"
)

const loginText = "Login was refused using authentication mechanism PLAIN. For details see the broker logfile."

// Covers AMQP-4.
func TestLogin(t *testing.T) {
	w := newTopoOn(t, NewMemoryStore(), func(o *Options) { o.Anonymous = "anon" })
	w.must(w.b.AddUser(w.turn, "u", "secret", []string{"monitoring"}, nil))
	w.must(w.b.AddUser(w.turn, "anon", "", nil, nil))
	login := func(c Credentials) error {
		u, err := w.b.Login(c)
		if (u == nil) == (err == nil) {
			t.Errorf("%+v: user %v and error %v", c, u, err)
		}
		return err
	}
	plain := func(user, pass string, local bool) Credentials {
		return Credentials{Mechanism: "PLAIN", User: user, Password: pass, Loopback: local}
	}
	for _, ok := range []Credentials{
		plain("guest", "guest", true), plain("u", "secret", false), plain("u", "secret", true),
		{Mechanism: "EXTERNAL", PeerIdentity: "u"},
		{Mechanism: "ANONYMOUS"},
		plain("u", "secret", false), // from the cache
	} {
		w.must(login(ok))
	}
	for _, bad := range []Credentials{
		plain("guest", "guest", false), plain("u", "", true), plain("u", "Secret", true), plain("nobody", "secret", true),
		plain("", "", true), plain("anon", "", true),
	} {
		w.refused(login(bad), Denied, loginText)
	}
	for _, bad := range []Credentials{
		{Mechanism: "EXTERNAL"}, {Mechanism: "EXTERNAL", PeerIdentity: "nobody"}, {Mechanism: "EXTERNAL", User: "u", Password: "secret"},
	} {
		if login(bad) == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	u, err := w.b.Login(plain("u", "secret", true))
	w.must(err)
	if !u.HasTag(TagMonitoring) || u.HasTag(TagAdministrator) {
		t.Errorf("tags %v", u.Tags)
	}
}

func TestAnonymousIsOffByDefault(t *testing.T) {
	w := newTopo(t)
	if _, err := w.b.Login(Credentials{Mechanism: "ANONYMOUS", Loopback: true}); err == nil {
		t.Error("anonymous login is accepted")
	}
}

// A changed password counts at once, whatever is remembered.
func TestLoginCacheIsDropped(t *testing.T) {
	w := newTopo(t)
	try := func(pass string) bool {
		_, err := w.b.Login(Credentials{Mechanism: "PLAIN", User: "u", Password: pass})
		return err == nil
	}
	w.must(w.b.AddUser(w.turn, "u", "one", nil, nil))
	for range 2 {
		if !try("one") {
			t.Fatal("the first password is refused")
		}
	}
	w.must(w.b.ChangePassword(w.turn, "u", "two", nil))
	if try("one") || !try("two") || try("one") {
		t.Error("the old password outlives its change")
	}
	w.must(w.b.DeleteUser(w.turn, "u", nil))
	if try("two") {
		t.Error("the password outlives its user")
	}
	w.must(w.b.AddUser(w.turn, "u", "three", nil, nil))
	if try("two") || !try("three") {
		t.Error("a new user of the name has the old password")
	}
}

func TestLoginCacheSparesHashes(t *testing.T) {
	w := newTopo(t)
	w.must(w.b.AddUser(w.turn, "u", "pw", nil, nil))
	a := w.b.auth.account("u")
	l := &w.b.logins
	if !l.verify(a, "u", "pw", 1000) {
		t.Fatal("refused")
	}
	digest := l.digest("u", "pw")
	if !l.known(a, digest, 1000+loginCacheTime-1) {
		t.Error("not remembered")
	}
	if l.known(a, digest, 1000+loginCacheTime) {
		t.Error("remembered too long")
	}
	if l.known(a, l.digest("u", "pW"), 1000) {
		t.Error("another password is remembered")
	}
	if l.verify(a, "u", "no", 1000) || !l.known(a, digest, 1000) {
		t.Error("a wrong password changes what is remembered")
	}
}

func TestImportedHash(t *testing.T) {
	w := newTopo(t)
	// Salt 908DC60A, password test12.
	w.must(w.b.AddUserHash(w.turn, "old", "", "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", nil, nil))
	if _, err := w.b.Login(Credentials{Mechanism: "PLAIN", User: "old", Password: "test12"}); err != nil {
		t.Error(err)
	}
	if _, err := w.b.Login(Credentials{Mechanism: "PLAIN", User: "old", Password: "test13"}); err == nil {
		t.Error("a wrong password is accepted")
	}
	if err := w.b.AddUserHash(w.turn, "bad", password.SHA512, "AAAA", nil, nil); err == nil {
		t.Error("a malformed hash is accepted")
	}
}

func TestParallelLogins(t *testing.T) {
	w := newTopo(t)
	w.must(w.b.AddUser(w.turn, "u", "pw", nil, nil))
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			pass := "pw"
			if i%4 == 0 {
				pass = "no"
			}
			_, err := w.b.Login(Credentials{Mechanism: "PLAIN", User: "u", Password: pass})
			if (err == nil) != (pass == "pw") {
				t.Errorf("password %q: %v", pass, err)
			}
		})
	}
	group.Wait()
}
