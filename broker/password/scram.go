package password

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Scram is what a server has to know of a password to take part in SCRAM-SHA-256
// (RFC 5802, RFC 7677): nobody can log in with it alone. The zero value knows no
// password.
type Scram struct {
	Iterations int
	Salt       []byte
	StoredKey  [sha256.Size]byte
	ServerKey  [sha256.Size]byte
}

// ScramName is the mechanism's registered name.
const ScramName = "SCRAM-SHA-256"

const (
	scramIterations    = 15_000 // RFC 7677 asks for 4,096 at least
	maxScramIterations = 10_000_000
	scramSalt          = 16 // bytes
	maxScramMessage    = 4096
)

// NewScram derives the keys of a password; that takes a few milliseconds. The
// password's bytes are taken as they are.
func NewScram(password string) (Scram, error) {
	salt := make([]byte, scramSalt)
	rand.Read(salt)
	salted, err := pbkdf2.Key(sha256.New, password, salt, scramIterations, sha256.Size)
	if err != nil {
		return Scram{}, fmt.Errorf("password: %w", err)
	}
	return Scram{
		Iterations: scramIterations, Salt: salt,
		StoredKey: sha256.Sum256(sign(salted, "Client Key")), ServerKey: [sha256.Size]byte(sign(salted, "Server Key")),
	}, nil
}

func sign(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// String is the text form, "SCRAM-SHA-256$iterations:salt$stored key:server key",
// which others use as well; "" for the zero value.
func (s Scram) String() string {
	if s.Iterations == 0 {
		return ""
	}
	b := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s$%d:%s$%s:%s", ScramName, s.Iterations, b(s.Salt), b(s.StoredKey[:]), b(s.ServerKey[:]))
}

// ParseScram reads the text form; "" is the zero value.
func ParseScram(text string) (s Scram, err error) {
	if text == "" {
		return s, nil
	}
	bad := errors.New("password: malformed SCRAM keys")
	parts := strings.Split(text, "$")
	if len(parts) != 3 || parts[0] != ScramName {
		return s, bad
	}
	iterations, salt, ok := strings.Cut(parts[1], ":")
	stored, server, both := strings.Cut(parts[2], ":")
	n, err := strconv.Atoi(iterations)
	if !ok || !both || err != nil || n < 1 || n > maxScramIterations {
		return s, bad
	}
	var raw [3][]byte
	for i, p := range []string{salt, stored, server} {
		if raw[i], err = base64.StdEncoding.DecodeString(p); err != nil {
			return s, bad
		}
	}
	if len(raw[0]) == 0 || len(raw[1]) != sha256.Size || len(raw[2]) != sha256.Size {
		return s, bad
	}
	return Scram{n, raw[0], [sha256.Size]byte(raw[1]), [sha256.Size]byte(raw[2])}, nil
}

// errScram says no more than that the exchange failed.
var errScram = errors.New("password: SCRAM exchange failed")

// ScramExchange is the server's side of one login. Its methods are called in the
// order First, Final, from one goroutine at a time; after an error it is over.
type ScramExchange struct {
	// Keys returns the keys of a user. For one that does not exist or has none it
	// returns others, always the same for a name, and false.
	Keys func(user string) (Scram, bool)

	user   string
	keys   Scram
	known  bool
	header string // of the GS2 layer, as the client has to repeat it
	nonce  string
	signed string // the part of the signed text that both know by now
}

// First takes the client's first message and returns the server's.
func (x *ScramExchange) First(message []byte) ([]byte, error) {
	if len(message) > maxScramMessage {
		return nil, errScram
	}
	binding, rest, ok := strings.Cut(string(message), ",")
	authzid, bare, ok2 := strings.Cut(rest, ",")
	if !ok || !ok2 || binding != "n" && binding != "y" { // "p=" wants a binding to a channel
		return nil, errScram
	}
	x.header = binding + "," + authzid + ","
	fields := strings.Split(bare, ",")
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "n=") || !strings.HasPrefix(fields[1], "r=") {
		return nil, errScram // "m=", an extension nobody knows, included
	}
	if x.user, ok = scramName(fields[0][2:]); !ok || len(fields[1]) < 3 {
		return nil, errScram
	}
	if authzid != "" && authzid != "a="+fields[0][2:] {
		return nil, errScram
	}
	x.keys, x.known = x.Keys(x.user)
	x.nonce = fields[1][2:] + rand.Text()
	reply := fmt.Sprintf("r=%s,s=%s,i=%d", x.nonce, base64.StdEncoding.EncodeToString(x.keys.Salt), x.keys.Iterations)
	x.signed = bare + "," + reply + ","
	return []byte(reply), nil
}

// scramName decodes a user name, in which "," and "=" are escaped.
func scramName(s string) (string, bool) {
	for i := 0; i < len(s); i++ {
		if s[i] == '=' && !strings.HasPrefix(s[i:], "=2C") && !strings.HasPrefix(s[i:], "=3D") {
			return "", false
		}
	}
	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s), s != ""
}

// Final takes the client's proof. It returns the user and the server's own proof.
func (x *ScramExchange) Final(message []byte) (user string, reply []byte, err error) {
	if len(message) > maxScramMessage || x.nonce == "" {
		return "", nil, errScram
	}
	text, proof, ok := cutLast(string(message), ",p=")
	if !ok {
		return "", nil, errScram
	}
	fields := strings.Split(text, ",")
	raw, err := base64.StdEncoding.DecodeString(proof)
	if err != nil || len(raw) != sha256.Size || len(fields) < 2 ||
		fields[0] != "c="+base64.StdEncoding.EncodeToString([]byte(x.header)) || fields[1] != "r="+x.nonce {
		return "", nil, errScram
	}
	signed := x.signed + text
	x.nonce = ""
	key := sign(x.keys.StoredKey[:], signed)
	subtle.XORBytes(key, key, raw)
	stored := sha256.Sum256(key)
	if subtle.ConstantTimeCompare(stored[:], x.keys.StoredKey[:]) != 1 || !x.known {
		return "", nil, errScram
	}
	return x.user, []byte("v=" + base64.StdEncoding.EncodeToString(sign(x.keys.ServerKey[:], signed))), nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// DecoyScram are keys for a user that does not exist: always the same for a
// name, so that nobody can tell by asking twice. secret is the server's.
func DecoyScram(secret []byte, user string) Scram {
	s := Scram{Iterations: scramIterations, Salt: sign(secret, "salt "+user)[:scramSalt]}
	s.StoredKey = [sha256.Size]byte(sign(secret, "key "+user))
	return s
}
