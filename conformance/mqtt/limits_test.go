package mqtt

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// text is the reason string of an acknowledgement.
func text(a wire.Ack) string { return a.Props.Text(wire.ReasonString) }

// MQTT-9: reasons of CONNACK besides the login.
func TestMQTT9Refusals(t *testing.T) {
	b := startOwn(t, "mqtt.banned_clients=bad-.*", "mqtt.connect_rate=5")
	for v, want := range map[wire.Version]wire.Reason{wire.V5: wire.Banned, wire.V311: wire.V3NotAuthorized} {
		r := rawTo(t, b, v)
		if a := r.hello("bad-1"); a.Reason != want {
			t.Errorf("banned: CONNACK 0x%02X, want 0x%02X", byte(a.Reason), byte(want))
		}
		r.closed()
	}
	seen := map[wire.Reason]int{}
	for range 40 {
		seen[rawTo(t, b, wire.V5).hello(unique("c")).Reason]++
	}
	if seen[wire.ConnectionRateExceeded] == 0 || seen[0] == 0 {
		t.Errorf("40 connections in a row with 5 per second allowed: %v", seen)
	}
}

func TestMQTT9Quota(t *testing.T) {
	b := startOwn(t)
	_, err := b.CTL("set_vhost_limits", "-p", "/", `{"max-connections":1}`)
	must(t, err)
	dialTo(t, b, wire.V5, "first")
	if a := rawTo(t, b, wire.V5).hello("second"); a.Reason != wire.QuotaExceeded {
		t.Errorf("5.0: CONNACK 0x%02X, want 0x97", byte(a.Reason))
	}
	if a := rawTo(t, b, wire.V311).hello("second"); a.Reason != wire.V3Unavailable {
		t.Errorf("3.1.1: CONNACK %d, want 3", a.Reason)
	}
}

// MQTT-11, MQTT-49: what is switched off is told in CONNACK and refused with its
// own reason.
func TestMQTT49NotOffered(t *testing.T) {
	b := startOwn(t, "mqtt.max_qos=1", "mqtt.retain=false", "mqtt.wildcards=false", "mqtt.shared_subscriptions=false", "mqtt.subscription_ids=false")
	r := dialTo(t, b, wire.V5, "c")
	for id, want := range map[wire.Property]uint32{wire.MaximumQoS: 1, wire.RetainAvailable: 0, wire.WildcardAvailable: 0,
		wire.SharedSubAvailable: 0, wire.SubIDAvailable: 0} {
		if v, ok := r.ack.Props.Find(id); !ok || v.Number != want {
			t.Errorf("property 0x%02X: %d, %v", byte(id), v.Number, ok)
		}
	}
	for filter, want := range map[string]wire.Reason{"a/+": wire.WildcardsNotSupported, "$share/g/a": wire.SharedNotSupported} {
		if code := r.subscribe(filter, 1); code != want {
			t.Errorf("%s: 0x%02X, want 0x%02X", filter, byte(code), byte(want))
		}
	}
	if code := r.subscribe("a", 1, wire.Properties(nil).AppendNumber(wire.SubscriptionID, 1)); code != wire.SubIDsNotSupported {
		t.Errorf("subscription identifier: 0x%02X", byte(code))
	}
	if code := r.subscribe("a", 2); code != 1 {
		t.Errorf("QoS 2 subscription: 0x%02X, want QoS 1", byte(code))
	}
	p := wire.Publish{Topic: []byte("a"), QoS: 2, PacketID: 1}
	r.send(p.Append(nil, r.v))
	r.dropped(wire.QoSNotSupported)
	r = dialTo(t, b, wire.V5, "c")
	r.publish("a", "x", 0, retained)
	r.dropped(wire.RetainNotSupported)
	if a := rawTo(t, b, wire.V5).hello("w", withWill(wire.Will{Topic: "t", QoS: 2})); a.Reason != wire.QoSNotSupported {
		t.Errorf("will of QoS 2: CONNACK 0x%02X", byte(a.Reason))
	}
	if a := rawTo(t, b, wire.V5).hello("w", withWill(wire.Will{Topic: "t", Retain: true})); a.Reason != wire.RetainNotSupported {
		t.Errorf("retained will: CONNACK 0x%02X", byte(a.Reason))
	}
}

// MQTT-49: limits of subscriptions.
func TestMQTT49Limits(t *testing.T) {
	b := startOwn(t, "mqtt.max_subscriptions=2", "mqtt.max_levels=4")
	r := dialTo(t, b, wire.V5, "c")
	r.sub("a/b/c/d", 1)
	if code := r.subscribe("a/b/c/d/e", 1); code != wire.ImplementationSpecificError {
		t.Errorf("five levels: 0x%02X", byte(code))
	}
	r.sub("b", 1)
	if code := r.subscribe("c", 1); code != wire.QuotaExceeded {
		t.Errorf("one too many: 0x%02X", byte(code))
	}
	r.sub("b", 2) // replaces
	r.publish("a/b/c/d/e", "x", 0)
	r.dropped(wire.TopicNameInvalid)
}

// MQTT-14, MQTT-35, MQTT-49: failures come with a reason string if it is wanted.
func TestMQTT14ReasonStrings(t *testing.T) {
	reserved := wire.Publish{Topic: []byte("$SYS/x"), QoS: 1, PacketID: 1}
	filters := wire.Subscribe{PacketID: 2, Filters: []wire.Filter{{Name: "a#"}}}
	for _, tt := range []struct {
		name    string
		options []func(*wire.Connect)
		want    bool
	}{
		{"wanted", nil, true},
		{"not wanted", []func(*wire.Connect){number(wire.RequestProblemInfo, 0)}, false},
		{"too large", []func(*wire.Connect){number(wire.MaximumPacketSize, 12)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := rawTo(t, shared, wire.V5)
			p := wire.Connect{Version: wire.V5, CleanStart: true, ClientID: unique("c")}
			for _, o := range tt.options {
				o(&p)
			}
			r.send(p.Append(nil))
			r.expect(wire.CONNACK)
			r.send(reserved.Append(nil, r.v))
			if a := r.ackOf(wire.PUBACK, 1); a.Reason != wire.NotAuthorized || text(a) != "" != tt.want {
				t.Errorf("PUBACK 0x%02X %q", byte(a.Reason), text(a))
			}
			r.send(filters.Append(nil, r.v))
			_, body := r.expect(wire.SUBACK)
			a, err := wire.DecodeSuback(wire.SUBACK, body, r.v)
			must(t, err)
			if a.Codes[0] != wire.TopicFilterInvalid || a.Props.Text(wire.ReasonString) != "" != tt.want {
				t.Errorf("SUBACK %v %q", a.Codes, a.Props.Text(wire.ReasonString))
			}
		})
	}
}

// MQTT-15.
func TestMQTT15ResponseInformation(t *testing.T) {
	id := unique("c")
	r := dial(t, wire.V5, id, number(wire.RequestResponseInfo, 1))
	if got := r.ack.Props.Text(wire.ResponseInfo); got != "response/"+id {
		t.Errorf("response information %q", got)
	}
	for _, o := range []func(*wire.Connect){clean, number(wire.RequestResponseInfo, 0)} {
		if v, ok := dial(t, wire.V5, unique("c"), o).ack.Props.Find(wire.ResponseInfo); ok {
			t.Errorf("response information %q without request", v.Data)
		}
	}
	if v, ok := dial(t, wire.V5, unique("c/+/"), number(wire.RequestResponseInfo, 1)).ack.Props.Find(wire.ResponseInfo); ok {
		t.Errorf("response information %q is no topic", v.Data)
	}
}

// MQTT-35: payload format.
func TestMQTT35PayloadFormat(t *testing.T) {
	b := startOwn(t, "mqtt.check_payload_format=true")
	r := dialTo(t, b, wire.V5, "c")
	utf8 := props(wire.Properties(nil).AppendNumber(wire.PayloadFormat, 1))
	for qos := byte(1); qos < 3; qos++ {
		if got := r.publish("t", "\xff", qos, utf8); got != wire.PayloadFormatInvalid {
			t.Errorf("QoS %d: 0x%02X", qos, byte(got))
		}
		if got := r.publish("t", "ü", qos, utf8); got.Failed() {
			t.Errorf("QoS %d: 0x%02X", qos, byte(got))
		}
	}
	dial(t, wire.V5, unique("c")).publish("t", "\xff", 1, utf8) // not checked unless configured
}

// MQTT-46: what waits for a session is bounded unless a policy says otherwise.
func TestMQTT46DefaultLimits(t *testing.T) {
	for overflow, want := range map[string][]string{"reject-publish": {"0", "1", "2"}, "drop-head": {"2", "3", "4"}} {
		t.Run(overflow, func(t *testing.T) {
			b := startOwn(t, "mqtt.max_queued=3", "mqtt.queue_overflow="+overflow)
			dialTo(t, b, wire.V5, "slow", keep, expiry(1000)).subAndBye("t", 1)
			p := dialTo(t, b, wire.V5, "p")
			for i := range 5 {
				got := p.publish("t", fmt.Sprint(i), 1)
				if refused := overflow == "reject-publish" && i >= 3; refused != (got == wire.QuotaExceeded) {
					t.Errorf("message %d: 0x%02X", i, byte(got))
				}
			}
			r := dialTo(t, b, wire.V5, "slow", keep, expiry(1000))
			r.want(want...)
			r.silent()
		})
	}
	b := startOwn(t, "mqtt.max_queued_bytes=1KiB")
	dialTo(t, b, wire.V5, "slow", keep, expiry(1000)).subAndBye("t", 1)
	p := dialTo(t, b, wire.V5, "p")
	seen := map[wire.Reason]int{}
	for range 10 {
		seen[p.publish("t", strings.Repeat("x", 300), 1)]++
	}
	if seen[0] < 3 || seen[wire.QuotaExceeded] < 5 {
		t.Errorf("3,000 bytes into 1,024: %v", seen)
	}
	v3 := dialTo(t, b, wire.V311, "three")
	m := wire.Publish{Topic: []byte("t"), Payload: []byte(strings.Repeat("x", 1200)), QoS: 1, PacketID: 1}
	v3.send(m.Append(nil, v3.v))
	v3.closed() // nothing is acknowledged that is not kept
}

// MQTT-65: server reference, message rate, maximum connect time, administrative
// action.
func TestMQTT65Reasons(t *testing.T) {
	b := startOwn(t, "mqtt.server_reference=other.example:1883", "mqtt.publish_rate=10", "mqtt.max_connect_time=3")
	fast := dialTo(t, b, wire.V5, "fast")
	var many []byte
	for range 100 {
		p := wire.Publish{Topic: []byte("t")}
		many = p.Append(many, fast.v)
	}
	fast.send(many)
	fast.dropped(wire.MessageRateTooHigh)

	long := dialTo(t, b, wire.V5, "long")
	began := time.Now()
	long.dropped(wire.MaximumConnectTime)
	if d := time.Since(began); d < 2*time.Second {
		t.Errorf("closed after %v of 3 s", d)
	}

	r := dialTo(t, b, wire.V5, "kicked", lasting(wire.V5)...)
	_, err := b.CTL("close_all_connections", "maintenance")
	must(t, err)
	r.dropped(wire.AdministrativeAction)

	r = dialTo(t, b, wire.V5, "queue", lasting(wire.V5)...)
	r.sub("q", 1)
	_, err = b.CTL("delete_queue", "mqtt-subscription-queueqos1")
	must(t, err)
	r.dropped(wire.AdministrativeAction)

	r = dialTo(t, b, wire.V5, "c")
	done := make(chan error, 1)
	go func() { done <- b.Stop(wait) }()
	_, body := r.expect(wire.DISCONNECT)
	d, err := wire.DecodeDisconnect(body, r.v)
	must(t, err)
	if d.Reason != wire.UseAnotherServer || d.Props.Text(wire.ServerReference) != "other.example:1883" {
		t.Errorf("DISCONNECT 0x%02X, reference %q", byte(d.Reason), d.Props.Text(wire.ServerReference))
	}
	r.closed()
	must(t, <-done)
}

// MQTT-4: the time to connect is bounded, also in the middle of a packet.
func TestMQTT4ConnectTimeoutSetting(t *testing.T) {
	b := startOwn(t, "mqtt.connect_timeout=1")
	r := rawTo(t, b, wire.V5)
	r.send([]byte{0x10, 50, 0, 4, 'M'})
	began := time.Now()
	r.closed()
	if d := time.Since(began); d < 900*time.Millisecond {
		t.Errorf("closed after %v of 1 s", d)
	}
}

// MQTT-7: user name without password, password without user name, empty ones.
func TestMQTT7Empty(t *testing.T) {
	b := startOwn(t)
	_, err := b.CTL("add_user", "nopass", "")
	if err != nil {
		t.Logf("a user without password cannot be made: %v", err)
	}
	for name, change := range map[string]func(*wire.Connect){
		"user name alone": func(p *wire.Connect) { p.HasUsername, p.Username = true, "guest" },
		"empty password":  login("guest", ""),
	} {
		if a := rawTo(t, b, wire.V5).hello("a", change); a.Reason != wire.BadUserNameOrPassword {
			t.Errorf("%s: CONNACK 0x%02X, want a refused login, not a malformed packet", name, byte(a.Reason))
		}
	}
	alone := func(p *wire.Connect) { p.HasPassword, p.Password = true, []byte("token") }
	if a := rawTo(t, b, wire.V5).hello("a", alone); a.Reason != 0 {
		t.Errorf("password alone with anonymous clients admitted: CONNACK 0x%02X", byte(a.Reason))
	}
}
