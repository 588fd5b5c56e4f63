package password

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// TestScramVector is the example of RFC 7677, section 3.
func TestScramVector(t *testing.T) {
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	salted, err := pbkdf2.Key(sha256.New, "pencil", salt, 4096, 32)
	if err != nil {
		t.Fatal(err)
	}
	keys := Scram{Iterations: 4096, Salt: salt, StoredKey: sha256.Sum256(sign(salted, "Client Key")), ServerKey: [32]byte(sign(salted, "Server Key"))}
	x := ScramExchange{
		user: "user", keys: keys, known: true, header: "n,,", nonce: "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
		signed: "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,",
	}
	user, reply, err := x.Final([]byte("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
	if err != nil || user != "user" || string(reply) != "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" {
		t.Errorf("%q, %q, %v", user, reply, err)
	}
}

// prove is the client's side of an exchange.
func prove(t *testing.T, x *ScramExchange, first, password string, spoil func(final string) string) (string, error) {
	t.Helper()
	reply, err := x.First([]byte(first))
	if err != nil {
		return "", err
	}
	var nonce, salt string
	var iterations int
	for part := range strings.SplitSeq(string(reply), ",") {
		switch part[:2] {
		case "r=":
			nonce = part[2:]
		case "s=":
			salt = part[2:]
		case "i=":
			_, _ = fmt.Sscan(part[2:], &iterations)
		}
	}
	raw, err := base64.StdEncoding.DecodeString(salt)
	if err != nil {
		t.Fatal(err)
	}
	salted, err := pbkdf2.Key(sha256.New, password, raw, iterations, 32)
	if err != nil {
		t.Fatal(err)
	}
	header, bare, _ := strings.Cut(first, ",,")
	text := "c=" + base64.StdEncoding.EncodeToString([]byte(header+",,")) + ",r=" + nonce
	key := sign(salted, "Client Key")
	stored := sha256.Sum256(key)
	subtle.XORBytes(key, key, sign(stored[:], bare+","+string(reply)+","+text))
	final := text + ",p=" + base64.StdEncoding.EncodeToString(key)
	if spoil != nil {
		final = spoil(final)
	}
	user, _, err := x.Final([]byte(final))
	return user, err
}

func TestScram(t *testing.T) {
	keys, err := NewScram("pässword")
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseScram(keys.String())
	if err != nil || again.String() != keys.String() {
		t.Fatalf("text form %q comes back as %q, %v", keys, again, err)
	}
	exchange := func() *ScramExchange {
		return &ScramExchange{Keys: func(user string) (Scram, bool) {
			if user == "a,b=c" {
				return again, true
			}
			return DecoyScram([]byte("secret"), user), false
		}}
	}
	const first = "n,,n=a=2Cb=3Dc,r=abc"
	if user, err := prove(t, exchange(), first, "pässword", nil); err != nil || user != "a,b=c" {
		t.Errorf("right password: %q, %v", user, err)
	}
	if _, err := prove(t, exchange(), first, "wrong", nil); err == nil {
		t.Error("wrong password is let in")
	}
	if _, err := prove(t, exchange(), "n,,n=nobody,r=abc", "pässword", nil); err == nil {
		t.Error("unknown user is let in")
	}
	for name, spoil := range map[string]func(string) string{
		"nonce":   func(s string) string { return strings.Replace(s, "r=", "r=x", 1) },
		"binding": func(s string) string { return strings.Replace(s, "c=biws", "c=eSws", 1) },
		"proof":   func(s string) string { return s[:len(s)-5] },
		"none":    func(s string) string { return s[:strings.Index(s, ",p=")] },
		"empty":   func(string) string { return "" },
	} {
		if _, err := prove(t, exchange(), first, "pässword", spoil); err == nil {
			t.Errorf("%s: let in", name)
		}
	}
	for _, first := range []string{"", "n", "n,,", "p=tls-unique,,n=u,r=x", "n,a=other,n=u,r=x", "n,,r=x,n=u", "n,,n=u=,r=x", "n,,n=,r=x", "n,,m=x,n=u,r=x", "n,,n=u,r="} {
		if _, err := exchange().First([]byte(first)); err == nil {
			t.Errorf("first message %q is taken", first)
		}
	}
	for _, text := range []string{"x", "SCRAM-SHA-256$1:$a:b", "SCRAM-SHA-256$0:AA==$AA==:AA==", "SCRAM-SHA-1$1:AA==$AA==:AA=="} {
		if _, err := ParseScram(text); err == nil {
			t.Errorf("keys %q are taken", text)
		}
	}
}

func FuzzScram(f *testing.F) {
	f.Add("n,,n=user,r=abc", "c=biws,r=abc,p=AAAA")
	keys, err := NewScram("x")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, first, final string) {
		x := ScramExchange{Keys: func(string) (Scram, bool) { return keys, true }}
		if _, err := x.First([]byte(first)); err == nil {
			if _, _, err := x.Final([]byte(final)); err == nil {
				t.Error("let in")
			}
		}
	})
}
