package password

import (
	"crypto/md5"
	"crypto/sha512"
	"encoding/base64"
	"strings"
	"testing"
)

// known is the hash RabbitMQ's documentation computes by hand: salt 908DC60A,
// password test12.
const known = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"

func rabbit(sum []byte) string {
	return base64.StdEncoding.EncodeToString(append([]byte("salt"), sum...))
}

func TestMatches(t *testing.T) {
	wide := sha512.Sum512([]byte("saltsecret"))
	old := md5.Sum([]byte("saltsecret"))
	own, err := New("secret", 4)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, algorithm, text, password string
	}{
		{"sha256", SHA256, known, "test12"},
		{"sha256 by default", "", known, "test12"},
		{"sha512", SHA512, rabbit(wide[:]), "secret"},
		{"md5", MD5, rabbit(old[:]), "secret"},
		{"bcrypt", own.Algorithm, own.Text, "secret"},
	}
	for _, tt := range tests {
		h, err := Parse(tt.algorithm, tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if !h.Matches(tt.password) {
			t.Errorf("%s: the password does not match", tt.name)
		}
		for _, wrong := range []string{"", tt.password + "x", "x"} {
			if h.Matches(wrong) {
				t.Errorf("%s: %q matches", tt.name, wrong)
			}
		}
	}
}

func TestEmptyHashMatchesNothing(t *testing.T) {
	h, err := Parse("", "")
	if err != nil {
		t.Fatal(err)
	}
	if h.Matches("") || (Hash{}).Matches("") {
		t.Error("a user without password can log in")
	}
}

func TestLongPasswords(t *testing.T) {
	long := strings.Repeat("x", 100)
	h, err := New(long, 4)
	if err != nil {
		t.Fatal(err)
	}
	if !h.Matches(long) || h.Matches(long[:99]) || h.Matches(long[:72]) {
		t.Error("only the beginning of a long password counts")
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range [][2]string{
		{SHA256, "not base64!"}, {SHA256, "AAAA"}, {"crc32", known}, {Bcrypt, "$2a$nonsense"}, {SHA512, known},
	} {
		if _, err := Parse(tt[0], tt[1]); err == nil {
			t.Errorf("%s %q is accepted", tt[0], tt[1])
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(SHA256, known)
	f.Fuzz(func(t *testing.T, algorithm, text string) {
		if algorithm == Bcrypt {
			return // its cost is in the text
		}
		if h, err := Parse(algorithm, text); err == nil {
			h.Matches("x")
		}
	})
}
