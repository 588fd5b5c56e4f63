package sns

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/message"
)

func testNotice(subject, text string) *notice {
	return &notice{
		id:   aws.UUIDOf([16]byte{0xdd, 0x5a, 0xd7, 0x02, 0xd9, 0x6f, 0x8e, 0xdb, 0xbe, 0x2a, 0x9d, 0xfe, 0xcc, 0x35, 0x28, 0x3b}),
		time: 1_700_000_000_792, subject: subject, text: text, sequence: 7,
	}
}

// certificate is what the endpoint serves under the URL of an envelope.
func (w *world) certificate(url string) *x509.Certificate {
	w.t.Helper()
	path, ok := strings.CutPrefix(url, testBase)
	if !ok {
		w.t.Fatalf("certificate at %s", url)
	}
	r := w.get(path)
	block, rest := pem.Decode(r.Body)
	if r.Status != 200 || block == nil || len(rest) > 0 {
		w.t.Fatalf("certificate: %d %s", r.Status, r.Body)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// verify checks a signature over a text with the served certificate's key.
func (w *world) verify(url, version, signature, text string) {
	w.t.Helper()
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		w.t.Fatal(err)
	}
	key := w.certificate(url).PublicKey.(*rsa.PublicKey)
	one, two := sha1.Sum([]byte(text)), sha256.Sum256([]byte(text))
	errs := map[string]error{
		"1": rsa.VerifyPKCS1v15(key, crypto.SHA1, one[:], raw), "2": rsa.VerifyPKCS1v15(key, crypto.SHA256, two[:], raw),
	}
	for v, err := range errs {
		if (err == nil) != (v == version) {
			w.t.Errorf("signature of version %s, checked as version %s: %v", version, v, err)
		}
	}
}

// SNS-16, SNS-19, SNS-33: the envelope to the byte, for both versions of
// signatures, and the text that each signs.
func TestEnvelope(t *testing.T) {
	w := newWorld(t)
	for _, version := range []string{"1", "2"} {
		for _, c := range []struct{ name, subject, line, signed string }{
			{"without a subject", "", "", ""},
			{"with a subject", "A subject", "  \"Subject\" : \"A subject\",\n", "Subject\nA subject\n"},
		} {
			t.Run(c.name+", version "+version, func(t *testing.T) {
				top, sub := newTestTopic(testTopic, "SignatureVersion", version), testSubscription("sqs")
				n := testNotice(c.subject, "hellö \"<&>\"\n")
				got := string(w.envelope(top, sub, n, n.text))
				var e struct{ Signature, SigningCertURL string }
				if err := json.Unmarshal([]byte(got), &e); err != nil {
					t.Fatalf("%v: %s", err, got)
				}
				want := "{\n  \"Type\" : \"Notification\",\n  \"MessageId\" : \"dd5ad702-d96f-8edb-be2a-9dfecc35283b\",\n  \"TopicArn\" : \"" + testTopic + "\",\n" +
					c.line + "  \"Message\" : \"hellö \\\"<&>\\\"\\n\",\n  \"Timestamp\" : \"2023-11-14T22:13:20.792Z\",\n  \"SignatureVersion\" : \"" + version + "\",\n" +
					"  \"Signature\" : \"" + e.Signature + "\",\n  \"SigningCertURL\" : \"" + testBase + w.signer.certPath() + "\",\n" +
					"  \"UnsubscribeURL\" : \"" + testBase + "/?Action=Unsubscribe&SubscriptionArn=arn:aws:sns:us-east-1:000000000000:prices:d843111e-1523-4f3c-807b-c434a9f87b0f\"\n}"
				if got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
				w.verify(e.SigningCertURL, version, e.Signature, "Message\nhellö \"<&>\"\n\nMessageId\ndd5ad702-d96f-8edb-be2a-9dfecc35283b\n"+
					c.signed+"Timestamp\n2023-11-14T22:13:20.792Z\nTopicArn\n"+testTopic+"\nType\nNotification\n")
			})
		}
	}
}

// SNS-18: attributes with their types; bytes are base64.
func TestEnvelopeAttributes(t *testing.T) {
	w := newWorld(t)
	n := testNotice("", "x")
	n.attributes = []message.Attribute{
		{Name: "s", Type: "String", Value: []byte("a \"b\"")}, {Name: "n", Type: "Number.int", Value: []byte("7")}, {Name: "b", Type: "Binary", Value: []byte{0, 255}},
	}
	got := string(w.envelope(newTestTopic(testTopic), testSubscription("sqs"), n, n.text))
	want := ",\n  \"MessageAttributes\" : {\n    \"s\" : {\"Type\":\"String\",\"Value\":\"a \\\"b\\\"\"},\n    \"n\" : {\"Type\":\"Number.int\",\"Value\":\"7\"},\n" +
		"    \"b\" : {\"Type\":\"Binary\",\"Value\":\"AP8=\"}\n  }\n}"
	if !strings.HasSuffix(got, want) || !json.Valid([]byte(got)) {
		t.Errorf("%s\ndoes not end in %s", got, want)
	}
}

// SNS-26: those of FIFO topics have a number of 20 digits and no signature.
func TestEnvelopeOfFIFO(t *testing.T) {
	w := newWorld(t)
	n := testNotice("", "x")
	got := w.envelope(newTestTopic(testTopic+".fifo"), testSubscription("sqs"), n, n.text)
	var e map[string]string
	if err := json.Unmarshal(got, &e); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Signature", "SignatureVersion", "SigningCertURL"} {
		if v, ok := e[name]; ok {
			t.Errorf("%s %q", name, v)
		}
	}
	if e["SequenceNumber"] != "10000000000000000007" {
		t.Errorf("%s", got)
	}
}

// With sign_queues off the signature in queues is empty; others have one.
func TestUnsignedQueues(t *testing.T) {
	w := newWorld(t)
	w.opt.SignQueues = false
	n, top := testNotice("", "x"), newTestTopic(testTopic)
	if got := string(w.envelope(top, testSubscription("sqs"), n, "x")); !strings.Contains(got, "\"Signature\" : \"\"") {
		t.Errorf("queue: %s", got)
	}
	if got := string(w.envelope(top, testSubscription("http"), n, "x")); strings.Contains(got, "\"Signature\" : \"\"") {
		t.Errorf("http: %s", got)
	}
}

// SNS-30, SNS-33, SNS-34: what is signed of a confirmation: the link and the
// token, too, in the order of the names.
func TestHandshakeSignature(t *testing.T) {
	w := newWorld(t)
	for _, version := range []string{"1", "2"} {
		for _, kind := range []string{"SubscriptionConfirmation", "UnsubscribeConfirmation"} {
			sub := testSubscription("http")
			sub.Token = newToken()
			body, id := w.handshake(kind, sub, newTestTopic(testTopic, "SignatureVersion", version), "the\ntext", "http://link/?a&b")
			var e map[string]string
			if err := json.Unmarshal(body, &e); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
			if e["Type"] != kind || e["MessageId"] != id || e["Token"] != sub.Token || e["SubscribeURL"] != "http://link/?a&b" || e["SignatureVersion"] != version {
				t.Errorf("%s", body)
			}
			w.verify(e["SigningCertURL"], version, e["Signature"], "Message\nthe\ntext\nMessageId\n"+id+"\nSubscribeURL\nhttp://link/?a&b\nTimestamp\n"+e["Timestamp"]+
				"\nToken\n"+sub.Token+"\nTopicArn\n"+testTopic+"\nType\n"+kind+"\n")
		}
	}
}

// The signature is remembered by version and text: none is given for another.
func TestRememberedSignatures(t *testing.T) {
	w := newWorld(t)
	seen := map[string]string{}
	for range 2 {
		for _, version := range []string{"1", "2"} {
			for _, text := range []string{"a", "b"} {
				sig := w.signer.sign(version, []byte(text))
				if have, ok := seen[version+text]; ok && have != sig {
					t.Error("signed anew, differently")
				}
				seen[version+text] = sig
				w.verify(w.certURL(), version, sig, text)
			}
		}
	}
	if len(seen) != 4 || len(w.signer.recent) != 4 {
		t.Errorf("%d signatures, %d remembered", len(seen), len(w.signer.recent))
	}
}

// Other pages than the certificate are none of the service's.
func TestCertificatePath(t *testing.T) {
	w := newWorld(t)
	if r := w.get("/SimpleNotificationService-00.pem"); r.Status == 200 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	if c := w.certificate(w.certURL()); c.Subject.CommonName != "sns.us-east-1.amazonaws.com" {
		t.Errorf("%v", c.Subject)
	}
}

// SNS-22: the text per protocol.
func TestTextFor(t *testing.T) {
	n := testNotice("", "for all")
	n.structure = `{"default":"for all","sqs":"for queues","http":7}`
	for protocol, want := range map[string]string{"sqs": "for queues", "lambda": "for all", "http": "for all"} {
		if got := n.textFor(protocol); got != want {
			t.Errorf("%s: %q, want %q", protocol, got, want)
		}
	}
}
