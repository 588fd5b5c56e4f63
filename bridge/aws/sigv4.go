package aws

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	maxSkew    = 15 * time.Minute
	maxExpires = 7 * 24 * time.Hour
	dateForm   = "20060102T150405Z"
	maxSigned  = 64 // headers
)

// Header is one header line of a request; Name is in lower case. It is a name
// of a plain struct, so that a slice of listeners/web/wire's fields is one of
// headers, as it is.
type Header = struct{ Name, Value string }

// Signed is a request as it was signed.
type Signed struct {
	Method  string
	Path    string // as sent
	Query   string // as sent
	Headers []Header
	Body    []byte
}

func (r *Signed) get(name string) string {
	for i := range r.Headers {
		if r.Headers[i].Name == name {
			return r.Headers[i].Value
		}
	}
	return ""
}

// Credential is whose signature a request carries.
type Credential struct {
	Key     string // access key id
	Region  string
	Service string
	Token   string // of a session
}

// signature is everything a request says about its signature.
type signature struct {
	Credential
	day       string
	at        time.Time
	stamp     string        // at, in the form of X-Amz-Date
	expires   time.Duration // of a presigned request; 0 otherwise
	headers   string        // names, separated by semicolons
	value     string
	presigned bool

	digest   [2 * sha256.Size]byte // of the body; valid if digested
	digested bool
}

// Secret finds the secret of an access key. ok is false if there is none.
type Secret func(key string) (secret string, ok bool)

// Verifier checks signatures. It is for use by all goroutines.
type Verifier struct {
	secret Secret

	mu   sync.RWMutex
	keys map[scope]*signer
}

// scope is what a key is derived for.
type scope struct{ key, day, region, service string }

// NewVerifier returns a verifier over a table of secrets.
func NewVerifier(s Secret) *Verifier { return &Verifier{secret: s, keys: make(map[scope]*signer)} }

// signer is the derived key of one day, region and service.
type signer struct {
	secret string
	macs   sync.Pool
}

// maxSigners bounds the derived keys that are remembered.
const maxSigners = 4096

// Identify tells whose request r claims to be, without checking that. It is
// zero if r carries no credentials.
func Identify(r *Signed) (Credential, *Error) {
	var s signature
	if err := s.parse(r); err != nil {
		return Credential{}, err
	}
	return s.Credential, nil
}

// Verify checks the signature of a request. The errors are those that AWS
// answers with.
func (v *Verifier) Verify(r *Signed, now time.Time) (Credential, *Error) {
	var s signature
	if err := s.parse(r); err != nil {
		return Credential{}, err
	}
	if s.Key == "" {
		return Credential{}, ErrMissingToken
	}
	secret, ok := v.secret(s.Key)
	if !ok {
		return Credential{}, ErrUnknownKey
	}
	if err := s.checkTime(now); err != nil {
		return Credential{}, err
	}
	if err := s.checkBody(r); err != nil {
		return Credential{}, err
	}
	k := v.signer(&s, secret)
	if k.matches(&s, r, false) || strings.IndexByte(r.Query, '+') >= 0 && k.matches(&s, r, true) {
		return s.Credential, nil
	}
	return Credential{}, ErrSignature
}

// parse reads what r says about its signature; Key stays empty if that is
// nothing, and only then.
func (s *signature) parse(r *Signed) *Error {
	auth := r.get("authorization")
	inQuery := strings.Contains(r.Query, "X-Amz-Algorithm=") || strings.Contains(r.Query, "X-Amz-Signature=")
	switch {
	case auth != "" && inQuery:
		return ErrBothSignatures
	case inQuery:
		return s.fromQuery(r)
	case auth != "":
		return s.fromHeader(r, auth)
	}
	return nil
}

func (s *signature) fromHeader(r *Signed, auth string) *Error {
	word, rest, _ := strings.Cut(auth, " ")
	if word != algorithm {
		return incomplete("Authorization header requires '" + algorithm + "' algorithm. Authorization=" + word)
	}
	var credential string
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, ",")
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			credential = value
		case "SignedHeaders":
			s.headers = value
		case "Signature":
			s.value = value
		}
	}
	stamp := r.get("x-amz-date")
	if stamp == "" {
		stamp = r.get("date")
	}
	if credential == "" || s.value == "" || s.headers == "" || stamp == "" {
		return s.lacking(credential, stamp)
	}
	s.Token = r.get("x-amz-security-token")
	return s.fill(credential, stamp)
}

// lacking names what an Authorization header comes without.
func (s *signature) lacking(credential, stamp string) *Error {
	var lacks []string
	for _, p := range []struct{ value, text string }{
		{credential, "Authorization header requires 'Credential' parameter."},
		{s.value, "Authorization header requires 'Signature' parameter."},
		{s.headers, "Authorization header requires 'SignedHeaders' parameter."},
		{stamp, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."},
	} {
		if p.value == "" {
			lacks = append(lacks, p.text)
		}
	}
	return incomplete(strings.Join(lacks, " ") + " Authorization=" + algorithm)
}

func (s *signature) fromQuery(r *Signed) *Error {
	f, ok := ParseForm(r.Query, "")
	if !ok {
		return incomplete("AWS query-string parameters are malformed.")
	}
	s.presigned = true
	var lacks []string
	take := func(name string) string {
		v := f.Get(name)
		if v == "" {
			lacks = append(lacks, "AWS query-string parameters must include '"+name+"'.")
		}
		return v
	}
	name := take("X-Amz-Algorithm")
	credential, value := take("X-Amz-Credential"), take("X-Amz-Signature")
	headers, stamp := take("X-Amz-SignedHeaders"), take("X-Amz-Date")
	if lacks != nil {
		return incomplete(strings.Join(lacks, " ") + " Re-examine the query-string parameters.")
	}
	if name != algorithm {
		return incomplete("Unsupported AWS 'algorithm': '" + name + "'.")
	}
	s.headers, s.value, s.Token = headers, value, f.Get("X-Amz-Security-Token")
	s.expires = maxExpires
	if e := f.Get("X-Amz-Expires"); e != "" {
		n, err := strconv.Atoi(e)
		if err != nil || n < 0 || time.Duration(n)*time.Second > maxExpires {
			return incomplete("X-Amz-Expires must be a number between 0 and 604800.")
		}
		s.expires = time.Duration(n) * time.Second
	}
	return s.fill(credential, stamp)
}

// fill takes the credential scope and the time.
func (s *signature) fill(credential, stamp string) *Error {
	var parts [5]string
	rest, more := credential, true
	for i := 0; i < len(parts) && more; i++ {
		parts[i], rest, more = strings.Cut(rest, "/")
	}
	if more || parts[4] != terminator || parts[0] == "" {
		return incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '" + credential + "'")
	}
	s.Key, s.day, s.Region, s.Service = parts[0], parts[1], parts[2], parts[3]
	at, err := time.Parse(dateForm, stamp)
	if err == nil {
		s.stamp = stamp
	} else {
		if at, err = time.Parse(time.RFC1123, stamp); err != nil {
			return incomplete("Date must be in ISO-8601 'basic format'. Got '" + stamp + "'. See http://en.wikipedia.org/wiki/ISO_8601")
		}
		s.stamp = at.UTC().Format(dateForm)
	}
	s.at = at.UTC()
	if s.stamp[:8] != s.day {
		return &Error{Status: 403, Code: "SignatureDoesNotMatch", Shape: CoralNamespace + "InvalidSignatureException",
			Message: "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '" + s.day + "' != '" + s.at.Format("20060102") + "', from '" + stamp + "'."}
	}
	signedHost := false
	n := 0
	for h := range strings.SplitSeq(s.headers, ";") {
		signedHost = signedHost || h == "host"
		n++
	}
	if !signedHost || n > maxSigned {
		return &Error{Status: 403, Code: "SignatureDoesNotMatch", Shape: CoralNamespace + "InvalidSignatureException",
			Message: "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."}
	}
	return nil
}

// checkTime refuses what is too old or from the future.
func (s *signature) checkTime(now time.Time) *Error {
	now = now.UTC()
	text := ""
	switch end := s.at.Add(max(s.expires, 0)); {
	case s.presigned && now.After(end):
		text = "Signature expired: " + s.at.Format(dateForm) + " is now earlier than " + now.Add(-s.expires).Format(dateForm) +
			" (" + now.Format(dateForm) + " - " + strconv.Itoa(int(s.expires.Seconds())) + " sec.)"
	case !s.presigned && now.Sub(s.at) > maxSkew:
		text = "Signature expired: " + s.at.Format(dateForm) + " is now earlier than " + now.Add(-maxSkew).Format(dateForm) +
			" (" + now.Format(dateForm) + " - 15 min.)"
	case s.at.Sub(now) > maxSkew:
		text = "Signature not yet current: " + s.at.Format(dateForm) + " is still later than " + now.Add(maxSkew).Format(dateForm) +
			" (" + now.Format(dateForm) + " + 15 min.)"
	default:
		return nil
	}
	return &Error{Status: 403, Code: "SignatureDoesNotMatch", Shape: CoralNamespace + "InvalidSignatureException", Message: text}
}

// checkBody refuses a body that is not the one x-amz-content-sha256 names.
func (s *signature) checkBody(r *Signed) *Error {
	claim := r.get("x-amz-content-sha256")
	if claim == "" || s.presigned && claim == "UNSIGNED-PAYLOAD" {
		return nil
	}
	if digest := s.bodyDigest(r); claim != string(digest[:]) {
		return ErrSignature
	}
	return nil
}

// bodyDigest is the digest of the body in hexadecimal, computed once.
func (s *signature) bodyDigest(r *Signed) *[2 * sha256.Size]byte {
	if !s.digested {
		sum := sha256.Sum256(r.Body)
		hex.Encode(s.digest[:], sum[:])
		s.digested = true
	}
	return &s.digest
}

func (v *Verifier) signer(s *signature, secret string) *signer {
	id := scope{s.Key, s.day, s.Region, s.Service}
	v.mu.RLock()
	k := v.keys[id]
	v.mu.RUnlock()
	if k != nil && k.secret == secret {
		return k
	}
	k = newSigner(secret, s.day, s.Region, s.Service)
	v.mu.Lock()
	if len(v.keys) >= maxSigners {
		clear(v.keys)
	}
	v.keys[scope{strings.Clone(s.Key), strings.Clone(s.day), strings.Clone(s.Region), strings.Clone(s.Service)}] = k
	v.mu.Unlock()
	return k
}

func newSigner(secret, day, region, service string) *signer {
	key := []byte("AWS4" + secret)
	for _, part := range []string{day, region, service, terminator} {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(part))
		key = m.Sum(nil)
	}
	k := &signer{secret: secret}
	k.macs.New = func() any { return hmac.New(sha256.New, key) }
	return k
}

var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// matches computes the signature of r and compares.
func (k *signer) matches(s *signature, r *Signed, rawQuery bool) bool {
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	b := s.appendCanonical((*buf)[:0], r, rawQuery)
	sum := sha256.Sum256(b)
	b = s.appendStringToSign(b[:0], sum[:])
	mac := k.macs.Get().(hash.Hash)
	mac.Reset()
	mac.Write(b)
	raw := mac.Sum(b[:0])
	k.macs.Put(mac)
	var want [2 * sha256.Size]byte
	hex.Encode(want[:], raw)
	*buf = b[:0]
	return subtle.ConstantTimeCompare(want[:], []byte(s.value)) == 1
}

func (s *signature) appendStringToSign(dst, sum []byte) []byte {
	dst = append(dst, algorithm+"\n"...)
	dst = append(dst, s.stamp...)
	dst = append(append(append(append(dst, '\n'), s.day...), '/'), s.Region...)
	dst = append(append(append(dst, '/'), s.Service...), "/"+terminator+"\n"...)
	return hex.AppendEncode(dst, sum)
}

// appendCanonical appends the canonical request.
func (s *signature) appendCanonical(dst []byte, r *Signed, rawQuery bool) []byte {
	dst = append(append(dst, r.Method...), '\n')
	dst = append(appendPath(dst, r.Path), '\n')
	if r.Query != "" {
		dst = appendQuery(dst, r.Query, s.presigned, rawQuery)
	}
	dst = append(dst, '\n')
	for name := range strings.SplitSeq(s.headers, ";") {
		dst = append(append(dst, name...), ':')
		first := true
		for i := range r.Headers {
			h := &r.Headers[i]
			if h.Name != name {
				continue
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = appendTrimmed(dst, h.Value)
		}
		dst = append(dst, '\n')
	}
	dst = append(append(append(dst, '\n'), s.headers...), '\n')
	if s.presigned && r.get("x-amz-content-sha256") == "UNSIGNED-PAYLOAD" {
		return append(dst, "UNSIGNED-PAYLOAD"...)
	}
	return append(dst, s.bodyDigest(r)[:]...)
}

// appendTrimmed appends a value without spaces at the ends and with runs of
// them as one.
func appendTrimmed(dst []byte, v string) []byte {
	for v != "" && (v[0] == ' ' || v[0] == '\t') {
		v = v[1:]
	}
	for v != "" && (v[len(v)-1] == ' ' || v[len(v)-1] == '\t') {
		v = v[:len(v)-1]
	}
	if !strings.Contains(v, "  ") {
		return append(dst, v...)
	}
	space := false
	for i := range len(v) {
		if v[i] == ' ' {
			space = true
			continue
		}
		if space {
			dst = append(dst, ' ')
			space = false
		}
		dst = append(dst, v[i])
	}
	return dst
}

// appendPath appends the path without dot segments and empty ones, encoded
// once more than it was sent.
func appendPath(dst []byte, p string) []byte {
	if p == "/" || p == "" {
		return append(dst, '/')
	}
	var kept []string
	for seg := range strings.SplitSeq(p, "/") {
		switch seg {
		case "", ".":
		case "..":
			if len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
		default:
			kept = append(kept, seg)
		}
	}
	for _, seg := range kept {
		dst = appendEncoded(append(dst, '/'), seg)
	}
	if len(kept) == 0 || strings.HasSuffix(p, "/") {
		dst = append(dst, '/')
	}
	return dst
}

// appendQuery appends the canonical query string: pairs sorted by name, then
// value, both encoded. raw takes a plus sign for itself and not for a space.
func appendQuery(dst []byte, q string, presigned, raw bool) []byte {
	type pair struct{ name, value []byte }
	var pairs []pair
	for part := range strings.SplitSeq(q, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		if presigned && name == "X-Amz-Signature" {
			continue
		}
		pairs = append(pairs, pair{recode(name, raw), recode(value, raw)})
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		if c := bytes.Compare(a.name, b.name); c != 0 {
			return c
		}
		return bytes.Compare(a.value, b.value)
	})
	for i, p := range pairs {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = append(append(append(dst, p.name...), '='), p.value...)
	}
	return dst
}

func recode(s string, raw bool) []byte {
	if raw {
		s = strings.ReplaceAll(s, "+", "%2B")
	}
	plain, ok := unescape(s)
	if !ok {
		plain = s
	}
	return appendEncoded(make([]byte, 0, len(s)), plain)
}

// appendEncoded percent-encodes everything but unreserved characters.
func appendEncoded(dst []byte, s string) []byte {
	const upper = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' {
			dst = append(dst, c)
			continue
		}
		dst = append(dst, '%', upper[c>>4], upper[c&15])
	}
	return dst
}
