package sns

import (
	"bufio"
	"net"
	"strings"
	"testing"
)

// mailServer answers one connection: a line for each command of a session
// that hands over one mail, "" for the end of the connection. It returns its
// address and, by the channel, what was written as the mail.
func mailServer(t *testing.T, rcpt, end, quit string) (string, <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	mails := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		say := func(line string) bool {
			_, err := c.Write([]byte(line + "\r\n"))
			return line != "" && err == nil
		}
		say("220 here")
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			answer := "250 fine"
			switch strings.ToUpper(strings.TrimRight(strings.SplitN(line, " ", 2)[0], "\r\n")) {
			case "RCPT":
				answer = rcpt
			case "QUIT":
				answer = quit
			case "DATA":
				say("354 go on")
				var text strings.Builder
				for line != ".\r\n" {
					text.WriteString(line)
					if line, err = r.ReadString('\n'); err != nil {
						return
					}
				}
				mails <- text.String()
				answer = end
			}
			if !say(answer) {
				return
			}
		}
	}()
	return l.Addr().String(), mails
}

// What a mail server answers decides whether a mail is tried again; one that
// it took never is, whatever happens to the connection then.
func TestMailOutcomes(t *testing.T) {
	for _, c := range []struct {
		name, rcpt, end, quit string
		code                  string // "" is success
		final                 bool
	}{
		{"taken", "250 ok", "250 ok", "221 bye", "", false},
		{"taken, then the connection ends", "250 ok", "250 ok", "", "", false},
		{"taken, then an error", "250 ok", "250 ok", "421 closing", "", false},
		{"no such recipient", "550 no such user", "250 ok", "221 bye", "MailRefused", true},
		{"recipient, not now", "451 try later", "250 ok", "221 bye", "MailUnavailable", false},
		{"text refused", "250 ok", "554 not like this", "221 bye", "MailRefused", true},
		{"text, not now", "250 ok", "452 disk full", "221 bye", "MailUnavailable", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			address, mails := mailServer(t, c.rcpt, c.end, c.quit)
			w.opt.Mail = MailOptions{Address: address, From: "Hermod <no-reply@example.org>", TLS: "off"}
			failed := w.sendMail("frigg@example.org", "größe", "a line\n.\n")
			switch {
			case c.code == "" && failed != nil:
				t.Fatal(failed)
			case c.code != "" && (failed == nil || failed.code != c.code || failed.final != c.final):
				t.Fatalf("%v, want %s, final %v", failed, c.code, c.final)
			case c.code != "":
				return
			}
			text := <-mails
			for _, want := range []string{"From: Hermod <no-reply@example.org>\r\n", "To: frigg@example.org\r\n", "Subject: =?utf-8?q?gr=C3=B6=C3=9Fe?=\r\n", "\r\n\r\na line\r\n..\r\n"} {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in %q", want, text)
				}
			}
		})
	}
}

func TestMailWithoutServer(t *testing.T) {
	w := newWorld(t)
	if failed := w.sendMail("frigg@example.org", "s", "x"); failed == nil || failed.final || failed.code != "NoMail" {
		t.Errorf("%v", failed)
	}
	address, _ := mailServer(t, "", "", "")
	w.opt.Mail = MailOptions{Address: address, From: "a@example.org", TLS: "on"} // it speaks no TLS
	if failed := w.sendMail("frigg@example.org", "s", "x"); failed == nil || failed.final {
		t.Errorf("%v", failed)
	}
}
