package sns

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/conformance/harness"
)

// certified is an authority and the TLS settings of a server that it knows.
func certified(t *testing.T) (*harness.Authority, *tls.Config) {
	t.Helper()
	a, err := harness.NewAuthority(t.TempDir())
	if err == nil {
		_, err = a.Issue("server")
	}
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(a.Path("server.pem"), a.Path("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	return a, &tls.Config{Certificates: []tls.Certificate{cert}}
}

// SNS-47: mail to a server that wants TLS and a password, from the first byte
// and by STARTTLS.
func TestSNS47_MailOverTLS(t *testing.T) {
	for _, mode := range []string{"on", "starttls", "required"} {
		t.Run(mode, func(t *testing.T) {
			a, config := certified(t)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := &mailServer{Listener: l, user: "hermod", password: "secret"}
			if mode == "on" {
				s.Listener = tls.NewListener(l, config)
			} else {
				s.secure = config
			}
			s.run(t)
			_, w := start(t, "aws.sns.mail.address="+l.Addr().String(), "aws.sns.mail.from=sns@example.org", "aws.sns.mail.tls="+mode,
				"aws.sns.mail.user=hermod", "aws.sns.mail.password=secret", "aws.sns.ca_file="+a.Path("ca.pem"))
			arn := w.topic()
			w.subscribe(arn, "email", "frigg@example.org")
			if m := s.next(w); m.to != "frigg@example.org" || !strings.Contains(m.text, arn) {
				t.Errorf("%+v", m)
			}
		})
	}
}

// SNS-47: no mail leaves where its transport is not what was asked for: without
// STARTTLS if that is required, to a server whose certificate nobody vouches
// for, with a password over plain text to another machine.
func TestSNS47_MailKeptBack(t *testing.T) {
	a, config := certified(t)
	for name, c := range map[string]struct {
		secure *tls.Config
		set    []string
	}{
		"no STARTTLS":     {nil, []string{"aws.sns.mail.tls=required"}},
		"not trusted":     {config, []string{"aws.sns.mail.tls=starttls"}},
		"wrong password":  {config, []string{"aws.sns.mail.tls=required", "aws.sns.mail.user=hermod", "aws.sns.mail.password=wrong", "aws.sns.ca_file=" + a.Path("ca.pem")}},
		"password needed": {config, []string{"aws.sns.mail.tls=required", "aws.sns.ca_file=" + a.Path("ca.pem")}},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := &mailServer{Listener: l, secure: c.secure, user: "hermod", password: "secret"}
			if name == "no STARTTLS" || name == "not trusted" {
				s.user = ""
			}
			s.run(t)
			b, w := start(t, append(c.set, "aws.sns.mail.address="+l.Addr().String())...)
			arn := w.topic()
			w.subscribe(arn, "email", "frigg@example.org")
			w.eventually("the attempt is reported", func() bool { return strings.Contains(b.Log(), "confirmation") || len(s.letters) > 0 })
			if len(s.letters) > 0 {
				t.Errorf("a mail left: %+v", <-s.letters)
			}
		})
	}
}

// SNS-30: an HTTPS endpoint with a certificate of one's own authority; without
// the authority nothing is sent.
func TestSNS30_HTTPSEndpoint(t *testing.T) {
	a, config := certified(t)
	got := make(chan string, 10)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- string(body)
	}))
	s.TLS = config
	s.StartTLS()
	t.Cleanup(s.Close)
	for _, trusted := range []bool{true, false} {
		var set []string
		if trusted {
			set = []string{"aws.sns.ca_file=" + a.Path("ca.pem")}
		}
		b, w := start(t, set...)
		arn := w.topic()
		w.subscribe(arn, "https", s.URL)
		if trusted {
			if e := w.open(<-got); e.Type != "SubscriptionConfirmation" || e.TopicArn != arn {
				t.Errorf("%+v", e)
			}
			continue
		}
		w.eventually("the attempt is reported", func() bool { return strings.Contains(b.Log(), "confirmation") || len(got) > 0 })
		if len(got) > 0 {
			t.Errorf("sent to a server that nobody vouches for: %s", <-got)
		}
	}
}
