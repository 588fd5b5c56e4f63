package mqtt

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/conformance/harness"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// startTLS starts a broker that asks for client certificates of a.
func startTLS(t *testing.T, a *harness.Authority, set ...string) *harness.Broker {
	t.Helper()
	_, err := a.Issue("server")
	must(t, err)
	return startOwn(t, append([]string{
		"listeners.mqtt.tls_address=127.0.0.1:0", "tls.client_auth=request",
		"tls.cert_file=" + a.Path("server.pem"), "tls.key_file=" + a.Path("server.key"), "tls.ca_file=" + a.Path("ca.pem"),
	}, set...)...)
}

// secure opens a TLS connection as whoever holds the certificate called name;
// "" has none.
func secure(t *testing.T, b *harness.Broker, a *harness.Authority, v wire.Version, name string, change ...func(*tls.Config)) *raw {
	t.Helper()
	if name != "" {
		_, err := a.Issue(name)
		must(t, err)
	}
	conf, err := a.Client(name)
	must(t, err)
	for _, f := range change {
		f(conf)
	}
	c, err := tls.Dial("tcp", b.Addr("mqtts"), conf)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &raw{t: t, c: c, v: v}
}

func addUser(t *testing.T, b *harness.Broker, user string, vhosts ...string) {
	t.Helper()
	_, err := b.CTL("add_user", user, "unused")
	must(t, err)
	for _, vhost := range vhosts {
		_, err := b.CTL("set_permissions", "-p", vhost, user, ".*", ".*", ".*")
		must(t, err)
	}
}

// MQTT-69: who the certificate says, in either version of TLS; a user name goes
// before it, and a certificate of nobody known is no anonymous client.
func TestMQTT69CertificateUser(t *testing.T) {
	a, err := harness.NewAuthority(t.TempDir())
	must(t, err)
	b := startTLS(t, a)
	addUser(t, b, "carol", "/")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		r := secure(t, b, a, wire.V5, "carol", func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version })
		if got := r.hello(unique("c")); got.Reason != 0 {
			t.Fatalf("CONNACK 0x%02X", byte(got.Reason))
		}
		out, err := b.CTL("list_connections", "user")
		must(t, err)
		if !strings.Contains(out, "carol") {
			t.Errorf("connections are of %q, want carol", out)
		}
		r.bye()
	}
	r := secure(t, b, a, wire.V5, "carol")
	if got := r.hello("guest's", login("guest", "guest")); got.Reason != 0 {
		t.Fatalf("CONNACK 0x%02X", byte(got.Reason))
	}
	out, err := b.CTL("list_connections", "user")
	must(t, err)
	if strings.Contains(out, "carol") {
		t.Errorf("the certificate goes before the user name: %q", out)
	}
	if got := secure(t, b, a, wire.V5, "mallory").hello("m"); got.Reason != wire.BadUserNameOrPassword && got.Reason != wire.NotAuthorized {
		t.Errorf("a certificate of an unknown user: CONNACK 0x%02X", byte(got.Reason))
	}
	if got := secure(t, b, a, wire.V311, "").hello("nobody"); got.Reason != 0 { // anonymous clients are allowed here
		t.Errorf("no certificate: CONNACK %d", got.Reason)
	}
}

// MQTT-69, MQTT-73: the virtual host by the certificate; one in the user name
// goes before it.
func TestMQTT69CertificateVHost(t *testing.T) {
	a, err := harness.NewAuthority(t.TempDir())
	must(t, err)
	b := startTLS(t, a, "mqtt.certificate_vhosts=carol=tenant", "mqtt.listener_vhosts=mqtts=other")
	addTenant(t, b)
	_, err = b.CTL("add_vhost", "other")
	must(t, err)
	_, err = b.CTL("set_permissions", "-p", "other", "guest", ".*", ".*", ".*")
	must(t, err)
	addUser(t, b, "carol", "/", "tenant", "other")
	addUser(t, b, "dave", "/", "tenant", "other")
	for _, x := range []struct {
		cert, client, vhost string
		options             []func(*wire.Connect)
	}{
		{"carol", "by-certificate", "tenant", nil},
		{"dave", "by-listener", "other", nil},
		{"carol", "by-user-name", "/", []func(*wire.Connect){login("/:guest", "guest")}},
	} {
		r := secure(t, b, a, wire.V5, x.cert)
		if got := r.hello(x.client, append(lasting(wire.V5), x.options...)...); got.Reason != 0 {
			t.Fatalf("%s: CONNACK 0x%02X", x.client, byte(got.Reason))
		}
		wantSessions(t, b, x.vhost, x.client)
	}
}

// MQTT-69: the certificate's name is the client identifier.
func TestMQTT69CertificateClientID(t *testing.T) {
	a, err := harness.NewAuthority(t.TempDir())
	must(t, err)
	b := startTLS(t, a, "mqtt.certificate_client_id=true")
	addUser(t, b, "carol", "/")
	if got := secure(t, b, a, wire.V5, "carol").hello("another"); got.Reason != wire.ClientIDNotValid {
		t.Errorf("another identifier: CONNACK 0x%02X", byte(got.Reason))
	}
	if got := secure(t, b, a, wire.V311, "carol").hello("another"); got.Reason != wire.V3IDRejected {
		t.Errorf("another identifier in 3.1.1: CONNACK %d", got.Reason)
	}
	r := secure(t, b, a, wire.V5, "carol")
	if got := r.hello(""); got.Reason != 0 || got.Props.Text(wire.AssignedClientID) != "carol" {
		t.Errorf("no identifier: CONNACK 0x%02X, assigned %q", byte(got.Reason), got.Props.Text(wire.AssignedClientID))
	}
	r.bye()
	if got := secure(t, b, a, wire.V311, "carol").hello("carol"); got.Reason != 0 {
		t.Errorf("its own name: CONNACK %d", got.Reason)
	}
	if got := secure(t, b, a, wire.V5, "").hello("free"); got.Reason != 0 {
		t.Errorf("no certificate: CONNACK 0x%02X", byte(got.Reason))
	}
}

// MQTT-69: ALPN: mqtt for those who ask for it; others are not turned away.
func TestMQTT69ALPN(t *testing.T) {
	a, err := harness.NewAuthority(t.TempDir())
	must(t, err)
	b := startTLS(t, a)
	for _, x := range []struct {
		offer []string
		want  string
	}{{nil, ""}, {[]string{"mqtt"}, "mqtt"}, {[]string{"x-amzn-mqtt-ca", "mqtt"}, "mqtt"}, {[]string{"x-amzn-mqtt-ca"}, ""}} {
		r := secure(t, b, a, wire.V5, "", func(c *tls.Config) { c.NextProtos = x.offer })
		if got := r.c.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != x.want {
			t.Errorf("offered %q, got %q", x.offer, got)
		}
		if got := r.hello(unique("alpn")); got.Reason != 0 {
			t.Errorf("offered %q: CONNACK 0x%02X", x.offer, byte(got.Reason))
		}
	}
}
