package sqs

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// signedList is a ListQueues of the Query protocol, signed by root at a time.
// prepare changes it before that, change afterwards.
func (w *world) signedList(at time.Time, prepare, change func(r *http.Request)) answer {
	w.Helper()
	const body = "Action=ListQueues&Version=2012-11-05"
	r, err := http.NewRequest("POST", w.at+"/", strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if prepare != nil {
		prepare(r)
	}
	w.sign(r, root, body, at)
	if change != nil {
		change(r)
	}
	return w.do(r)
}

// SQS-60: a clock that is off by more than a quarter of an hour is told so, with
// the times.
func TestSQS60_Skew(t *testing.T) {
	ours(t)
	w := open(t)
	const form = "20060102T150405Z"
	now := time.Now().UTC()
	late, early := now.Add(-16*time.Minute), now.Add(16*time.Minute)
	w.signedList(late, nil, nil).has(t, 403, "<Type>Sender</Type><Code>SignatureDoesNotMatch</Code>",
		"<Message>Signature expired: "+late.Format(form)+" is now earlier than ", " - 15 min.)</Message>")
	w.signedList(early, nil, nil).has(t, 403, "<Code>SignatureDoesNotMatch</Code>",
		"<Message>Signature not yet current: "+early.Format(form)+" is still later than ", " + 15 min.)</Message>")
	// A stranger's clock is not the point.
	stranger := func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), root.id, "AKIDNONE", 1))
	}
	w.signedList(late, nil, stranger).has(t, 403, "<Code>InvalidClientTokenId</Code>")
	// The day of the scope is that of the date.
	w.signedList(now, nil, func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), now.Format("/20060102/"), "/20200101/", 1))
	}).has(t, 403, "<Code>SignatureDoesNotMatch</Code>", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20200101' != ")
}

// SQS-60: presigned requests that are over, not begun yet, or ask for too much.
func TestSQS60_PresignedTimes(t *testing.T) {
	ours(t)
	w := open(t)
	presign := func(at time.Time, expires string, change func(q url.Values)) answer {
		t.Helper()
		r, err := http.NewRequest("GET", w.at+"/?Action=ListQueues&Version=2012-11-05&X-Amz-Expires="+expires, nil)
		if err != nil {
			t.Fatal(err)
		}
		const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		signed, _, err := v4.NewSigner().PresignHTTP(ctx(), aws.Credentials{AccessKeyID: root.id, SecretAccessKey: root.secret}, r, empty, "sqs", region, at)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			u, _ := url.Parse(signed)
			q := u.Query()
			change(q)
			u.RawQuery = q.Encode()
			signed = u.String()
		}
		r, err = http.NewRequest("GET", signed, nil)
		if err != nil {
			t.Fatal(err)
		}
		return w.do(r)
	}
	now := time.Now()
	presign(now.Add(-time.Hour), "7200", nil).has(t, 200, "<ListQueuesResponse")
	presign(now.Add(-6*24*time.Hour), "604800", nil).has(t, 200, "<ListQueuesResponse")
	presign(now.Add(-time.Hour), "3000", nil).has(t, 403, "<Code>SignatureDoesNotMatch</Code>", "Signature expired: ", " - 3000 sec.)")
	presign(now.Add(time.Hour), "60", nil).has(t, 403, "<Code>SignatureDoesNotMatch</Code>", "Signature not yet current: ")
	for _, expires := range []string{"604801", "-1", "x", "99999999999999999999"} {
		presign(now, expires, nil).has(t, 400, "<Code>IncompleteSignature</Code>", "X-Amz-Expires must be a number between 0 and 604800.")
	}
	for _, name := range []string{"X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Date", "X-Amz-Signature"} {
		presign(now, "60", func(q url.Values) { q.Del(name) }).has(t, 400, "<Code>IncompleteSignature</Code>", name)
	}
	presign(now, "60", func(q url.Values) { q.Set("X-Amz-Expires", "600") }).has(t, 403, "<Code>SignatureDoesNotMatch</Code>") // it is signed
	presign(now, "60", func(q url.Values) { q.Set("X-Amz-Algorithm", "AWS4-HMAC-SHA1") }).has(t, 400, "<Code>IncompleteSignature</Code>")
}

// SQS-60: what may differ between signers, and what may not.
func TestSQS60_HeaderVariants(t *testing.T) {
	ours(t)
	w := open(t)
	now := time.Now()
	authorization := func(change func(a string) string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", change(r.Header.Get("Authorization"))) }
	}
	part := func(a, name string) string {
		_, a, _ = strings.Cut(a, name+"=")
		a, _, _ = strings.Cut(a, ",")
		return a
	}
	for _, c := range []struct {
		name            string
		prepare, change func(r *http.Request)
		status          int
		part            string
	}{
		{"no spaces after commas", nil, authorization(func(a string) string { return strings.ReplaceAll(a, ", ", ",") }), 200, "<ListQueuesResponse"},
		{"more spaces", nil, authorization(func(a string) string { return strings.ReplaceAll(a, ", ", " ,   ") }), 200, "<ListQueuesResponse"},
		{"another order", nil, authorization(func(a string) string {
			return "AWS4-HMAC-SHA256 Signature=" + part(a, "Signature") + ", SignedHeaders=" + part(a, "SignedHeaders") + ", Credential=" + part(a, "Credential")
		}), 200, "<ListQueuesResponse"},
		{"spaces in a signed value", func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "a   b  c") }, nil, 200, "<ListQueuesResponse"},
		{"a signed value that changes in its spaces only", func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "a b") },
			func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "  a    b ") }, 200, "<ListQueuesResponse"},
		{"two values of a signed name", func(r *http.Request) { r.Header["X-Amz-Meta-A"] = []string{"1", "2"} }, nil, 200, "<ListQueuesResponse"},
		{"two values in the other order", func(r *http.Request) { r.Header["X-Amz-Meta-A"] = []string{"1", "2"} },
			func(r *http.Request) { r.Header["X-Amz-Meta-A"] = []string{"2", "1"} }, 403, "<Code>SignatureDoesNotMatch</Code>"},
		{"a header that is not signed", nil, func(r *http.Request) { r.Header.Set("X-Other", "x") }, 200, "<ListQueuesResponse"},
		{"a signed header that is gone", func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "a") }, func(r *http.Request) { r.Header.Del("X-Amz-Meta-A") },
			403, "<Code>SignatureDoesNotMatch</Code>"},
		{"the host is not signed", nil, authorization(func(a string) string { return strings.Replace(a, "host;", "", 1) }), 403, "must be a 'SignedHeader'"},
		{"another algorithm", nil, authorization(func(a string) string { return strings.Replace(a, "SHA256", "SHA1", 1) }), 400, "<Code>IncompleteSignature</Code>"},
		{"basic", nil, authorization(func(string) string { return "Basic Z3Vlc3Q6Z3Vlc3Q=" }), 400, "<Code>IncompleteSignature</Code>"},
		{"a scope of four parts", nil, authorization(func(a string) string { return strings.Replace(a, "/sqs/", "/", 1) }), 400, "Credential must have exactly 5 slash-delimited elements"},
		{"a scope of six parts", nil, authorization(func(a string) string { return strings.Replace(a, "/sqs/", "/sqs/sqs/", 1) }), 400, "Credential must have exactly 5 slash-delimited elements"},
		{"another region", nil, authorization(func(a string) string { return strings.Replace(a, "/"+region+"/", "/eu-west-1/", 1) }), 403, "<Code>SignatureDoesNotMatch</Code>"},
		{"no date", nil, func(r *http.Request) { r.Header.Del("X-Amz-Date") }, 400, "existence of either a 'X-Amz-Date' or a 'Date' header"},
		{"no date of any form", nil, func(r *http.Request) { r.Header.Set("X-Amz-Date", "yesterday") }, 400, "Date must be in ISO-8601 'basic format'. Got 'yesterday'"},
		{"an upper-case signature", nil, authorization(func(a string) string {
			return strings.Replace(a, part(a, "Signature"), strings.ToUpper(part(a, "Signature")), 1)
		}), 403, "<Code>SignatureDoesNotMatch</Code>"},
		{"a short signature", nil, authorization(func(a string) string { return a[:len(a)-2] }), 403, "<Code>SignatureDoesNotMatch</Code>"},
		{"many signed headers", nil, authorization(func(a string) string { return strings.Replace(a, "host;", "host;"+strings.Repeat("x;", 200), 1) }), 403, "<Code>SignatureDoesNotMatch</Code>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			here := &world{t, w.Client, w.at}
			here.signedList(now, c.prepare, c.change).has(t, c.status, c.part)
		})
	}
}

// SQS-61: credentials that have expired. The clock of the broker's second life
// is twenty minutes on, and so are the signatures.
func TestSQS61_Expired(t *testing.T) {
	ours(t)
	dir := t.TempDir()
	end := func() {}
	life := func(offset time.Duration) *world {
		end()
		b, err := launch(dir, fmt.Sprint("node.clock_offset=", offset))
		if err != nil {
			t.Fatal(err)
		}
		end = b.Kill
		at := "http://" + b.Addr("aws")
		return &world{t, client(t, at, root), at}
	}
	defer func() { end() }()
	w := life(0)
	a := w.form(root, "POST", "/", nil, "Action", "AssumeRole", "Version", "2011-06-15", "RoleArn", "arn:aws:iam::"+account+":role/r",
		"RoleSessionName", "s", "DurationSeconds", "900")
	a.has(t, 200, "<SessionToken>")
	field := func(name string) string {
		_, v, _ := strings.Cut(a.body, "<"+name+">")
		v, _, _ = strings.Cut(v, "</"+name+">")
		return v
	}
	k := key{field("AccessKeyId"), field("SecretAccessKey"), field("SessionToken")}
	w.form(k, "POST", "/", nil, "Action", "ListQueues").has(t, 200, "<ListQueuesResponse")
	const later = 20 * time.Minute
	w = life(later)
	list := func(k key) answer {
		const body = "Action=ListQueues&Version=2012-11-05"
		r, err := http.NewRequest("POST", w.at+"/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w.sign(r, k, body, time.Now().Add(later))
		return w.do(r)
	}
	list(root).has(t, 200, "<ListQueuesResponse")
	list(k).has(t, 403, "<Code>ExpiredToken</Code>", "The security token included in the request is expired")
}
