package mqtt

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strconv"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

const scram = "SCRAM-SHA-256"

func sign(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// scramClient is the client's side of SCRAM-SHA-256 (RFC 5802).
type scramClient struct {
	user, password string
	server         string // what the server has to prove in the end
}

func (s *scramClient) first() string { return "n,,n=" + s.user + ",r=fyko+d2lbbFgONRv9qkxdawL" }

// final answers the server's first message.
func (s *scramClient) final(t *testing.T, challenge string) string {
	t.Helper()
	parts := strings.Split(challenge, ",")
	if len(parts) != 3 || !strings.HasPrefix(parts[0], "r=fyko+d2lbbFgONRv9qkxdawL") {
		t.Fatalf("challenge %q", challenge)
	}
	salt, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(parts[1], "s="))
	must(t, err)
	n, err := strconv.Atoi(strings.TrimPrefix(parts[2], "i="))
	must(t, err)
	if n < 4096 {
		t.Errorf("%d iterations, RFC 7677 asks for 4096", n)
	}
	salted, err := pbkdf2.Key(sha256.New, s.password, salt, n, 32)
	must(t, err)
	text := "c=biws," + parts[0]
	signed := strings.TrimPrefix(s.first(), "n,,") + "," + challenge + "," + text
	key := sign(salted, "Client Key")
	stored := sha256.Sum256(key)
	subtle.XORBytes(key, key, sign(stored[:], signed))
	s.server = "v=" + base64.StdEncoding.EncodeToString(sign(sign(salted, "Server Key"), signed))
	return text + ",p=" + base64.StdEncoding.EncodeToString(key)
}

func method(name, data string) func(*wire.Connect) {
	return func(p *wire.Connect) {
		p.Props = p.Props.AppendText(wire.AuthMethod, name)
		if data != "" {
			p.Props = p.Props.AppendText(wire.AuthData, data)
		}
	}
}

func auth(reason wire.Reason, name, data string) []byte {
	a := wire.Auth{Reason: reason, Props: wire.Properties(nil).AppendText(wire.AuthMethod, name)}
	if data != "" {
		a.Props = a.Props.AppendText(wire.AuthData, data)
	}
	return a.Append(nil)
}

// challenged reads an AUTH and returns its data.
func (r *raw) challenged(reason wire.Reason) string {
	r.t.Helper()
	_, body := r.expect(wire.AUTH)
	a, err := wire.DecodeAuth(body, r.v)
	must(r.t, err)
	if a.Reason != reason || a.Props.Text(wire.AuthMethod) != scram {
		r.t.Fatalf("AUTH 0x%02X, method %q", byte(a.Reason), a.Props.Text(wire.AuthMethod))
	}
	return a.Props.Text(wire.AuthData)
}

// connected reads the CONNACK that ends an exchange.
func (r *raw) connected(reason wire.Reason) wire.Connack {
	r.t.Helper()
	_, body := r.expect(wire.CONNACK)
	a, err := wire.DecodeConnack(body, r.v)
	must(r.t, err)
	if a.Reason != reason {
		r.t.Fatalf("CONNACK 0x%02X, want 0x%02X", byte(a.Reason), byte(reason))
	}
	return a
}

// connectWith sends CONNECT and does not wait.
func (r *raw) connectWith(id string, options ...func(*wire.Connect)) {
	r.t.Helper()
	p := wire.Connect{Version: r.v, CleanStart: true, ClientID: id}
	for _, o := range options {
		o(&p)
	}
	r.send(p.Append(nil))
}

// MQTT-66: SCRAM-SHA-256, with and without data in CONNECT, again on the running
// connection, wrong passwords and users.
func TestMQTT66Scram(t *testing.T) {
	for _, early := range []bool{true, false} {
		c := scramClient{user: "guest", password: "guest"}
		r := rawTo(t, shared, wire.V5)
		if early {
			r.connectWith(unique("c"), method(scram, c.first()))
		} else {
			r.connectWith(unique("c"), method(scram, ""))
			if data := r.challenged(wire.ContinueAuthentication); data != "" {
				t.Errorf("asked for the first message with %q", data)
			}
			r.send(auth(wire.ContinueAuthentication, scram, c.first()))
		}
		r.send(auth(wire.ContinueAuthentication, scram, c.final(t, r.challenged(wire.ContinueAuthentication))))
		a := r.connected(0)
		if a.Props.Text(wire.AuthMethod) != scram || a.Props.Text(wire.AuthData) != c.server {
			t.Errorf("method %q, server's proof %q, want %q", a.Props.Text(wire.AuthMethod), a.Props.Text(wire.AuthData), c.server)
		}
		topic := unique("t")
		r.sub(topic, 1)
		r.publish(topic, "m", 0)
		r.want("m")

		r.send(auth(wire.ReAuthenticate, scram, c.first()))
		r.send(auth(wire.ContinueAuthentication, scram, c.final(t, r.challenged(wire.ContinueAuthentication))))
		if proof := r.challenged(wire.Success); proof != c.server {
			t.Errorf("server's proof %q, want %q", proof, c.server)
		}
		r.publish(topic, "n", 0)
		r.want("n")

		wrong := scramClient{user: "guest", password: "wrong"}
		r.send(auth(wire.ReAuthenticate, scram, wrong.first()))
		r.send(auth(wire.ContinueAuthentication, scram, wrong.final(t, r.challenged(wire.ContinueAuthentication))))
		r.dropped(wire.NotAuthorized)
	}
	for user, password := range map[string]string{"guest": "wrong", "nobody": "guest"} {
		c := scramClient{user: user, password: password}
		r := rawTo(t, shared, wire.V5)
		r.connectWith(unique("c"), method(scram, c.first()))
		r.send(auth(wire.ContinueAuthentication, scram, c.final(t, r.challenged(wire.ContinueAuthentication))))
		r.connected(wire.NotAuthorized)
		r.closed()
	}
}

// MQTT-66: keys follow the password and survive a kill; imported hashes have
// none.
func TestMQTT66ScramKeys(t *testing.T) {
	b := startOwn(t)
	login := func(user, password string, want wire.Reason) {
		t.Helper()
		c := scramClient{user: user, password: password}
		r := rawTo(t, b, wire.V5)
		r.connectWith("c", method(scram, c.first()))
		r.send(auth(wire.ContinueAuthentication, scram, c.final(t, r.challenged(wire.ContinueAuthentication))))
		r.connected(want)
		_ = r.c.Close()
	}
	ctl := func(args ...string) {
		t.Helper()
		_, err := b.CTL(args...)
		must(t, err)
	}
	ctl("add_user", "dev", "one")
	ctl("set_permissions", "-p", "/", "dev", ".*", ".*", ".*")
	login("dev", "one", 0)
	ctl("change_password", "dev", "two")
	login("dev", "one", wire.NotAuthorized)
	b.Kill()
	must(t, b.Restart())
	login("dev", "two", 0)
	ctl("delete_user", "dev")
	login("dev", "two", wire.NotAuthorized)
}

// re-authentication as somebody else; packets out of turn; other methods.
func TestMQTT66OutOfTurn(t *testing.T) {
	start := func() *raw {
		c := scramClient{user: "guest", password: "guest"}
		r := rawTo(t, shared, wire.V5)
		r.connectWith(unique("c"), method(scram, c.first()))
		r.challenged(wire.ContinueAuthentication)
		return r
	}
	r := start()
	r.send(wire.AppendPingreq(nil))
	r.connected(wire.ProtocolError)
	r.closed()
	r = start()
	r.send(auth(wire.ContinueAuthentication, "OTHER", "x"))
	r.connected(wire.ProtocolError)
	r.closed()
	r = start()
	r.send(auth(wire.ReAuthenticate, scram, "x"))
	r.connected(wire.ProtocolError)
	r = start()
	r.send(auth(wire.ContinueAuthentication, scram, "nonsense"))
	r.connected(wire.NotAuthorized)
	r = start()
	d := wire.Disconnect{}
	r.send(d.Append(nil, r.v))
	r.closed()

	r = rawTo(t, shared, wire.V5)
	if a := r.hello("a", method("NONE-SUCH", "")); a.Reason != wire.BadAuthenticationMethod {
		t.Errorf("CONNACK 0x%02X, want 0x8C", byte(a.Reason))
	}
	r = rawTo(t, shared, wire.V5)
	r.connectWith("a", func(p *wire.Connect) { p.Props = p.Props.AppendText(wire.AuthData, "x") })
	r.connected(wire.ProtocolError)
	for _, reason := range []wire.Reason{wire.ReAuthenticate, wire.ContinueAuthentication} {
		r = dial(t, wire.V5, unique("c"))
		r.send(auth(reason, scram, "x"))
		r.dropped(wire.ProtocolError)
	}
	r = dial(t, wire.V5, unique("c"))
	r.send([]byte{0xf0, 2, 0x42, 0})
	r.dropped(wire.MalformedPacket)
	r = dial(t, wire.V311, unique("c"))
	r.send(auth(wire.ReAuthenticate, scram, "x"))
	r.closed()

	c := scramClient{user: "guest", password: "guest"}
	r = rawTo(t, shared, wire.V5)
	r.connectWith(unique("c"), method(scram, c.first()))
	r.send(auth(wire.ContinueAuthentication, scram, c.final(t, r.challenged(wire.ContinueAuthentication))))
	r.connected(0)
	r.send(auth(wire.ReAuthenticate, "OTHER", "x"))
	r.dropped(wire.ProtocolError)
}
