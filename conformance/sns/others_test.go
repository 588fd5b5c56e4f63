package sns

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
)

// letter is a mail that the server of a test took.
type letter struct {
	from, to string
	header   mail.Header
	text     string // decoded
}

// mailServer is an SMTP server on this machine. While closed is set it knows
// no recipients.
type mailServer struct {
	net.Listener
	letters chan letter
	closed  atomic.Bool

	secure         *tls.Config // of STARTTLS, which is offered if this is set
	user, password string      // who may send, over TLS only; "" is anybody
}

func newMailServer(t testing.TB) *mailServer {
	ours(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &mailServer{Listener: l}
	s.run(t)
	return s
}

// run serves until the end of the test.
func (s *mailServer) run(t testing.TB) {
	l := s.Listener
	t.Cleanup(func() { l.Close() })
	s.letters = make(chan letter, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
}

func (s *mailServer) serve(c net.Conn) {
	defer func() { c.Close() }()
	r := bufio.NewReader(c)
	say := func(line string) { _, _ = io.WriteString(c, line+"\r\n") }
	say("220 mail.example.org ESMTP")
	_, secure := c.(*tls.Conn)
	known := s.user == ""
	var m letter
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			say("250-mail.example.org")
			if s.secure != nil && !secure {
				say("250-STARTTLS")
			}
			if secure && s.user != "" {
				say("250-AUTH PLAIN")
			}
			say("250 8BITMIME")
		case "HELO", "RSET", "NOOP":
			say("250 mail.example.org")
		case "STARTTLS":
			say("220 go on")
			c = tls.Server(c, s.secure)
			r, secure = bufio.NewReader(c), true
		case "AUTH":
			want := base64.StdEncoding.EncodeToString([]byte("\x00" + s.user + "\x00" + s.password))
			if known = secure && rest == "PLAIN "+want; !known {
				say("535 not you")
				continue
			}
			say("235 welcome")
		case "MAIL":
			if !known {
				say("530 who are you")
				continue
			}
			m = letter{from: address(rest)}
			say("250 ok")
		case "RCPT":
			if m.to = address(rest); s.closed.Load() {
				say("550 no such user")
				continue
			}
			say("250 ok")
		case "DATA":
			say("354 go on")
			var raw strings.Builder
			for {
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				raw.WriteString(strings.TrimPrefix(line, "."))
			}
			if !m.parse(raw.String()) {
				say("554 no mail")
				continue
			}
			s.letters <- m
			say("250 queued")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("502 unknown")
		}
	}
}

func address(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}

func (m *letter) parse(raw string) bool {
	parsed, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		return false
	}
	text, err := io.ReadAll(quotedprintable.NewReader(parsed.Body))
	m.header, m.text = parsed.Header, strings.ReplaceAll(string(text), "\r\n", "\n")
	return err == nil
}

func (s *mailServer) next(w *world) letter {
	w.Helper()
	select {
	case m := <-s.letters:
		return m
	case <-time.After(patience):
		w.Fatal("no mail arrived")
		return letter{}
	}
}

var link = regexp.MustCompile(`http://\S+`)

// SNS-47: mail is confirmed, delivered and ended by its links.
func TestSNS47_Mail(t *testing.T) {
	s := newMailServer(t)
	_, w := start(t, "aws.sns.mail.address="+s.Addr().String(), "aws.sns.mail.from=Hermod <sns@example.org>", "aws.sns.mail.tls=off")
	arn := w.topic()
	sub := w.subscribe(arn, "email", "frigg@example.org")
	m := s.next(w)
	if m.from != "sns@example.org" || m.to != "frigg@example.org" || m.header.Get("To") != m.to || m.header.Get("From") != "Hermod <sns@example.org>" ||
		m.header.Get("Subject") != "AWS Notification - Subscription Confirmation" || !strings.Contains(m.text, arn) {
		t.Errorf("%+v", m)
	}
	w.publish(arn, "too early")
	w.visit(link.FindString(m.text))
	if a := w.subscription(sub); a["PendingConfirmation"] != "false" {
		t.Errorf("%v", a)
	}
	w.publish(arn, "größe\n.\n.x", func(in *sns.PublishInput) { in.Subject = aws.String("a subject") })
	m = s.next(w)
	if m.to != "frigg@example.org" || m.header.Get("Subject") != "a subject" || !strings.HasPrefix(m.text, "größe\n.\n.x\n") {
		t.Errorf("%+v", m)
	}
	json := `{"default":"for all","email":"for mail"}`
	w.publish(arn, json, func(in *sns.PublishInput) { in.MessageStructure = aws.String("json") })
	m = s.next(w)
	subject, err := new(mime.WordDecoder).DecodeHeader(m.header.Get("Subject"))
	if err != nil || subject != "AWS Notification Message" || !strings.HasPrefix(m.text, "for mail\n") {
		t.Errorf("%+v", m)
	}
	w.visit(link.FindString(m.text))
	list, err := w.ListSubscriptionsByTopic(ctx, &sns.ListSubscriptionsByTopicInput{TopicArn: &arn})
	w.must(err)
	if len(list.Subscriptions) != 0 {
		t.Errorf("%v", list.Subscriptions)
	}
}

// SNS-47: email-json is the envelope, signed.
func TestSNS47_MailJSON(t *testing.T) {
	s := newMailServer(t)
	_, w := start(t, "aws.sns.mail.address="+s.Addr().String(), "aws.sns.mail.tls=off")
	arn := w.topic()
	w.subscribe(arn, "email-json", "frigg@example.org")
	e := w.open(s.next(w).text)
	if e.Type != "SubscriptionConfirmation" || e.TopicArn != arn {
		t.Errorf("%+v", e)
	}
	w.verify(e, "1")
	w.visit(e.SubscribeURL)
	id := *w.publish(arn, "hellö", with(map[string]types.MessageAttributeValue{"k": text("v")})).MessageId
	e = w.open(s.next(w).text)
	if e.Type != "Notification" || e.MessageId != id || e.Message != "hellö" || e.MessageAttributes["k"].Value != "v" {
		t.Errorf("%+v", e)
	}
	w.verify(e, "1")
}

// SNS-47: what a mail server refuses for good goes to the dead-letter queue.
func TestSNS47_MailRefused(t *testing.T) {
	s := newMailServer(t)
	_, w := start(t, "aws.sns.mail.address="+s.Addr().String(), "aws.sns.mail.tls=off")
	arn, dead := w.topic(), w.queue()
	w.subscribe(arn, "email", "frigg@example.org", "RedrivePolicy", `{"deadLetterTargetArn":"`+dead.arn+`"}`)
	w.visit(link.FindString(s.next(w).text))
	s.closed.Store(true)
	id := *w.publish(arn, "refused").MessageId
	m := w.receive(dead)
	if e := w.open(*m.Body); e.MessageId != id || aws.ToString(m.MessageAttributes["ErrorCode"].StringValue) != "MailRefused" ||
		aws.ToString(m.MessageAttributes["ErrorMessage"].StringValue) != "550 no such user" {
		t.Errorf("%s %v", *m.Body, m.MessageAttributes)
	}
}

// delivery is one call of a webhook.
type delivery struct {
	path   string
	header http.Header
	body   string
}

// hooks serves the webhooks of all protocols.
type hooks struct {
	*httptest.Server
	ch     chan delivery
	status atomic.Int64 // of the next calls; 0 is 200
	left   atomic.Int64 // how many of them
}

func newHooks(t testing.TB) *hooks {
	ours(t)
	h := &hooks{ch: make(chan delivery, 100)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		status := 200
		if h.left.Add(-1) >= 0 {
			status = int(h.status.Load())
		}
		h.ch <- delivery{r.URL.EscapedPath(), r.Header, string(body)}
		w.WriteHeader(status)
	}))
	t.Cleanup(h.Close)
	return h
}

// fail has the next n calls answered with a status.
func (h *hooks) fail(status, n int64) {
	h.status.Store(status)
	h.left.Store(n)
}

func (h *hooks) settings() []string {
	var set []string
	for _, protocol := range []string{"lambda", "firehose", "sms", "application"} {
		set = append(set, "aws.sns.webhooks."+protocol+"="+h.URL+"/"+protocol+"/{endpoint}")
	}
	return set
}

// next is the next call, checked to be of a protocol and endpoint, with its
// body in v.
func (h *hooks) next(w *world, protocol, endpoint string, v any) {
	w.Helper()
	select {
	case d := <-h.ch:
		escaped := strings.NewReplacer(":", "%3A", "/", "%2F", "+", "%2B").Replace(endpoint)
		if d.path != "/"+protocol+"/"+escaped || d.header.Get("x-hermod-sns-protocol") != protocol || d.header.Get("x-hermod-sns-endpoint") != endpoint ||
			d.header.Get("Content-Type") != "application/json" {
			w.Errorf("%s %v", d.path, d.header)
		}
		if err := json.Unmarshal([]byte(d.body), v); err != nil {
			w.Fatalf("%v: %s", err, d.body)
		}
	case <-time.After(patience):
		w.Fatal("no call of the webhook")
	}
}

type lambdaEvent struct {
	Records []struct {
		EventSource, EventVersion, EventSubscriptionArn string
		Sns                                             envelope
	}
}

const (
	function = "arn:aws:lambda:us-east-1:000000000000:function:f"
	stream   = "arn:aws:firehose:us-east-1:000000000000:deliverystream/s"
	phone    = "+15551234567"
)

// SNS-47: a function gets its event, again after an error of the server, and
// a client error sends the message to the dead-letter queue.
func TestSNS47_Lambda(t *testing.T) {
	h := newHooks(t)
	_, w := start(t, h.settings()...)
	arn, dead := w.topic(), w.queue()
	sub := w.subscribe(arn, "lambda", function, "RedrivePolicy", `{"deadLetterTargetArn":"`+dead.arn+`"}`)
	h.fail(500, 2)
	id := *w.publish(arn, "hellö", with(map[string]types.MessageAttributeValue{"k": text("v")}), func(in *sns.PublishInput) { in.Subject = aws.String("s") }).MessageId
	for range 3 {
		var event lambdaEvent
		h.next(w, "lambda", function, &event)
		if len(event.Records) != 1 {
			t.Fatalf("%+v", event)
		}
		r := event.Records[0]
		if r.EventSource != "aws:sns" || r.EventVersion != "1.0" || r.EventSubscriptionArn != sub || r.Sns.Type != "Notification" || r.Sns.MessageId != id ||
			r.Sns.TopicArn != arn || r.Sns.Subject != "s" || r.Sns.Message != "hellö" || r.Sns.MessageAttributes["k"].Value != "v" {
			t.Errorf("%+v", r)
		}
		w.verify(r.Sns, "1")
	}
	h.fail(400, 1)
	w.publish(arn, "refused")
	h.next(w, "lambda", function, new(lambdaEvent))
	m := w.receive(dead)
	if e := w.open(*m.Body); e.Message != "refused" || aws.ToString(m.MessageAttributes["ErrorCode"].StringValue) != "400" {
		t.Errorf("%s %v", *m.Body, m.MessageAttributes)
	}
}

// SNS-47: a stream gets records: the envelope, or the text alone if raw.
func TestSNS47_Firehose(t *testing.T) {
	h := newHooks(t)
	_, w := start(t, h.settings()...)
	arn := w.topic()
	sub := w.subscribe(arn, "firehose", stream)
	record := func() string {
		t.Helper()
		var got struct {
			RequestID string
			Timestamp int64
			Records   []struct{ Data string }
		}
		h.next(w, "firehose", stream, &got)
		if len(got.Records) != 1 || got.RequestID == "" || got.Timestamp == 0 {
			t.Fatalf("%+v", got)
		}
		data, err := base64.StdEncoding.DecodeString(got.Records[0].Data)
		w.must(err)
		return string(data)
	}
	id := *w.publish(arn, "hellö").MessageId
	e := w.open(record())
	if e.MessageId != id || e.Message != "hellö" {
		t.Errorf("%+v", e)
	}
	w.verify(e, "1")
	w.must(w.set(sub, "RawMessageDelivery", "true"))
	w.publish(arn, "hellö")
	if got := record(); got != "hellö" {
		t.Errorf("%q", got)
	}
}

type hookMessage struct {
	Endpoint, Message, Subject, MessageID, TopicArn string
	Attributes                                      map[string]struct{ Type, Value string }
}

// SNS-24, SNS-47: text messages, of a topic and to one number.
func TestSNS47_SMS(t *testing.T) {
	h := newHooks(t)
	_, w := start(t, h.settings()...)
	arn := w.topic()
	w.subscribe(arn, "sms", phone)
	structured := func(in *sns.PublishInput) { in.MessageStructure = aws.String("json") }
	id := *w.publish(arn, `{"default":"for all","sms":"for phones"}`, structured, with(map[string]types.MessageAttributeValue{"k": number("7")})).MessageId
	var m hookMessage
	h.next(w, "sms", phone, &m)
	if m.Endpoint != phone || m.Message != "for phones" || m.MessageID != id || m.TopicArn != arn || m.Attributes["k"] != struct{ Type, Value string }{"Number", "7"} {
		t.Errorf("%+v", m)
	}
	direct := func() (*sns.PublishOutput, error) {
		return w.Publish(ctx, &sns.PublishInput{PhoneNumber: aws.String("+15557654321"), Message: aws.String("direct")})
	}
	out, err := direct()
	w.must(err)
	m = hookMessage{}
	h.next(w, "sms", "+15557654321", &m)
	if m.Endpoint != "+15557654321" || m.Message != "direct" || m.MessageID != *out.MessageId || m.TopicArn != "" {
		t.Errorf("%+v", m)
	}
	h.fail(503, 1)
	_, err = direct()
	w.refused(err, "InternalError", "The webhook of protocol sms failed: The endpoint answered 503 Service Unavailable")
}

// SNS-47: push messages, of a topic and to one device.
func TestSNS47_Application(t *testing.T) {
	h := newHooks(t)
	_, w := start(t, h.settings()...)
	app, err := w.CreatePlatformApplication(ctx, &sns.CreatePlatformApplicationInput{
		Name: aws.String(w.name()), Platform: aws.String("GCM"), Attributes: map[string]string{"PlatformCredential": "x"},
	})
	w.must(err)
	device, err := w.CreatePlatformEndpoint(ctx, &sns.CreatePlatformEndpointInput{PlatformApplicationArn: app.PlatformApplicationArn, Token: aws.String("t")})
	w.must(err)
	to, arn := *device.EndpointArn, w.topic()
	w.subscribe(arn, "application", to)
	id := *w.publish(arn, "hellö", func(in *sns.PublishInput) { in.Subject = aws.String("s") }).MessageId
	var m hookMessage
	h.next(w, "application", to, &m)
	if m.Endpoint != to || m.Message != "hellö" || m.Subject != "s" || m.MessageID != id || m.TopicArn != arn {
		t.Errorf("%+v", m)
	}
	out, err := w.Publish(ctx, &sns.PublishInput{TargetArn: &to, Message: aws.String("direct")})
	w.must(err)
	m = hookMessage{}
	h.next(w, "application", to, &m)
	if m.Endpoint != to || m.Message != "direct" || m.MessageID != *out.MessageId {
		t.Errorf("%+v", m)
	}
}

// SNS-47: without a webhook messages wait, over a restart, until there is one.
func TestSNS47_WaitsForWebhook(t *testing.T) {
	h := newHooks(t)
	dir := t.TempDir()
	b, err := launch(dir)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, "http://"+b.Addr("aws"), "test")
	topic, err := w.CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String(w.name())})
	w.must(err)
	w.subscribe(*topic.TopicArn, "lambda", function)
	id := *w.publish(*topic.TopicArn, "kept").MessageId
	b.Kill()
	if b, err = launch(dir, h.settings()...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Kill)
	var event lambdaEvent
	h.next(w, "lambda", function, &event)
	if len(event.Records) != 1 || event.Records[0].Sns.MessageId != id || event.Records[0].Sns.Message != "kept" {
		t.Errorf("%+v", event)
	}
}
