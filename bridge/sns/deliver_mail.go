package sns

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"time"
)

// MailOptions say how mail leaves.
type MailOptions struct {
	Address  string // host:port of the SMTP server; "" is no mail
	From     string
	User     string // for AUTH PLAIN, over TLS or to this machine only
	Password string
	TLS      string // off, starttls (if the server offers it; the default), required (no mail without STARTTLS) or on
}

func (s *Service) deliverMail(t *topic, sub *subscription, n *notice) *failure {
	subject := n.subject
	if subject == "" {
		subject = "AWS Notification Message"
	}
	text := n.textFor(sub.Protocol)
	if sub.Protocol == "email-json" {
		return s.sendMail(sub.Endpoint, subject, string(s.envelope(t, sub, n, text)))
	}
	return s.sendMail(sub.Endpoint, subject, text+"\n\n--\nIf you wish to stop receiving notifications from this topic, please click or visit the link below to unsubscribe:\n"+
		s.unsubscribeURL(sub.ARN)+"\n")
}

// validMail reports whether an address can be written to.
func validMail(address string) bool {
	a, err := mail.ParseAddress(address)
	return err == nil && a.Address == address && len(address) <= 320
}

func (s *Service) sendMail(to, subject, text string) *failure {
	o := &s.opt.Mail
	if o.Address == "" {
		return temporary("NoMail", "aws.sns.mail.address is not configured")
	}
	var b bytes.Buffer
	header := func(name, value string) { b.WriteString(name + ": " + value + "\r\n") }
	header("From", o.From)
	header("To", to)
	header("Subject", mime.QEncoding.Encode("utf-8", subject))
	header("Date", s.opt.Now().Format(time.RFC1123Z))
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=UTF-8")
	header("Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	if err := s.smtp(to, b.Bytes()); err != nil {
		var code *smtpError
		if asSMTP(err, &code) && code.final {
			return permanent("MailRefused", err.Error())
		}
		return temporary("MailUnavailable", err.Error())
	}
	return nil
}

// smtp hands one mail to the server.
func (s *Service) smtp(to string, text []byte) error {
	o := &s.opt.Mail
	host, _, err := net.SplitHostPort(o.Address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.context, s.opt.HTTP.Timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", o.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	secure := &tls.Config{ServerName: host, RootCAs: s.opt.HTTP.Roots, MinVersion: tls.VersionTLS12}
	if o.TLS == "on" {
		conn = tls.Client(conn, secure)
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	switch ok, _ := c.Extension("STARTTLS"); {
	case o.TLS == "on" || o.TLS == "off":
	case ok:
		if err := c.StartTLS(secure); err != nil {
			return err
		}
	case o.TLS == "required":
		return errors.New("the mail server does not offer STARTTLS")
	}
	if o.User != "" {
		if err := c.Auth(smtp.PlainAuth("", o.User, o.Password, host)); err != nil {
			return err
		}
	}
	from := o.From
	if a, err := mail.ParseAddress(o.From); err == nil {
		from = a.Address
	}
	if err := c.Mail(from); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return refusedMail(err)
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return refusedMail(err)
	}
	_ = c.Quit() // the server has the mail, however it ends
	return nil
}

// refusedMail is a server's answer to a recipient or to the text of a mail;
// what begins with 5 is final (RFC 5321, 4.2.1).
func refusedMail(err error) error {
	var answer *textproto.Error
	if errors.As(err, &answer) {
		return &smtpError{fmt.Sprintf("%03d %s", answer.Code, answer.Msg), answer.Code >= 500}
	}
	return err
}

// smtpError is the refusal of a recipient or a text.
type smtpError struct {
	text  string
	final bool
}

func (e *smtpError) Error() string { return e.text }

func asSMTP(err error, to **smtpError) bool {
	e, ok := err.(*smtpError)
	*to = e
	return ok
}
