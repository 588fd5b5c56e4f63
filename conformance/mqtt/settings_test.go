package mqtt

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/conformance/harness"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

func subID(id uint32) wire.Properties {
	return wire.Properties(nil).AppendNumber(wire.SubscriptionID, id)
}

// copy is what tells the copies of a message apart.
func copyOf(p wire.Publish) string {
	return fmt.Sprintf("id %d qos %d retain %v", p.Props.Number(wire.SubscriptionID, 0), p.QoS, p.Retain)
}

// MQTT-56: one copy for each overlapping subscription, with its own QoS,
// identifier and options, settled only when the client has all of them.
func TestMQTT56CopyForEach(t *testing.T) {
	b := startOwn(t, "mqtt.overlapping=each")
	few := append(lasting(wire.V5), number(wire.ReceiveMaximum, 1))
	r := dialTo(t, b, wire.V5, "s", few...)
	r.sub("t/#", 1, subID(1))
	r.sub("t/+", 2|wire.RetainAsPublished, subID(2))
	r.sub("t/a", 0, subID(3))
	r.sub("t/b", 1, subID(4))
	p := dialTo(t, b, wire.V5, "p")
	for range 50 {
		p.publish("t/a", "m", 2, func(p *wire.Publish) { p.Retain = true })
		var got []string
		for range 3 {
			got = append(got, copyOf(r.recv()))
		}
		slices.Sort(got)
		if want := []string{"id 1 qos 1 retain false", "id 2 qos 2 retain true", "id 3 qos 0 retain false"}; !slices.Equal(got, want) {
			t.Fatalf("copies %q, want %q", got, want)
		}
	}
	r.silent()

	r.unsub("t/a")
	r.unsub("t/+")
	r.sub("+/a", 1, subID(5))
	r.recv() // retained
	p.publish("t/a", "kept", 1)
	first := copyOf(r.recv())
	r.take() // and not acknowledged
	r.cut()
	r = dialTo(t, b, wire.V5, "s", few...)
	again := r.recv()
	if !again.Dup || copyOf(again) == first || string(again.Payload) != "kept" {
		t.Errorf("after a reconnect %s %q, DUP %v; before it %s", copyOf(again), again.Payload, again.Dup, first)
	}
	r.silent()
	r.bye()
	eventually(t, "the message is settled", func() bool {
		out, err := b.CTL("list_queues", "name", "messages")
		must(t, err)
		return strings.Contains(strings.Join(strings.Fields(out), " "), "mqtt-subscription-sqos1 0")
	})
}

// MQTT-45: a packet that is never finished does not keep a socket; more than four
// bytes of length end it at once.
func TestMQTT45UnfinishedPacket(t *testing.T) {
	b := startOwn(t, "mqtt.packet_timeout=1")
	for _, v := range two {
		r := dialTo(t, b, v, unique("c"))
		r.send([]byte{0x30, 100, 0, 1})
		r.dropped(wire.KeepAliveTimeout)
		r = dialTo(t, b, v, unique("c"))
		r.send([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 1})
		r.dropped(wire.MalformedPacket)
	}
	r := dialTo(t, b, wire.V5, "slow")
	r.send([]byte{0x30, 5, 0, 1})
	r.send([]byte{'t', 0, 'm'})
	r.ping()
}

// MQTT-27: two clients that fight over one identifier are slowed down; the session
// stays, and others do not notice.
func TestMQTT27Fight(t *testing.T) {
	b := startOwn(t, "mqtt.takeover_rate=3")
	for v, refusal := range map[wire.Version]wire.Reason{wire.V5: wire.ConnectionRateExceeded, wire.V311: wire.V3Unavailable} {
		id := fmt.Sprint("fight", v)
		seen := map[wire.Reason]int{}
		for range 40 {
			seen[rawTo(t, b, v).hello(id, lasting(v)...).Reason]++
			dialTo(t, b, v, unique("other")).ping()
		}
		if seen[refusal] == 0 || seen[0] < 3 || len(seen) != 2 {
			t.Errorf("v%d: 40 take-overs in a row with 3 per second allowed: %v", v, seen)
		}
		eventually(t, "the session can be taken over again", func() bool {
			return rawTo(t, b, v).hello(id, lasting(v)...).Reason == 0
		})
	}
}

// MQTT-65: a server that has moved for good says where to.
func TestMQTT65ServerMoved(t *testing.T) {
	b := startOwn(t, "mqtt.server_moved=true", "mqtt.server_reference=new.example:1883")
	a := rawTo(t, b, wire.V5).hello("c")
	if a.Reason != wire.ServerMoved || a.Props.Text(wire.ServerReference) != "new.example:1883" {
		t.Errorf("CONNACK 0x%02X, reference %q", byte(a.Reason), a.Props.Text(wire.ServerReference))
	}
	if a := rawTo(t, b, wire.V311).hello("c"); a.Reason != wire.V3Unavailable {
		t.Errorf("3.1.1: CONNACK %d, want 3", a.Reason)
	}
}

// MQTT-73: the virtual host by the listener's port or name; the user name goes
// before it.
func TestMQTT73ByListener(t *testing.T) {
	b := startOwn(t, "mqtt.listener_vhosts=mqtt=tenant,1=nowhere")
	if a := rawTo(t, b, wire.V5).hello("c"); a.Reason == 0 {
		t.Fatal("let in to a virtual host that does not exist")
	}
	addTenant(t, b)
	dialTo(t, b, wire.V5, "tenant", lasting(wire.V5)...)
	dialTo(t, b, wire.V5, "root", append(lasting(wire.V5), login("/:guest", "guest"))...)
	wantSessions(t, b, "tenant", "tenant")
	wantSessions(t, b, "/", "root")
}

func TestMQTT73ByPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := l.Addr().String()
	_, port, err := net.SplitHostPort(addr)
	must(t, err)
	must(t, l.Close())
	b := startOwn(t, "listeners.mqtt.address="+addr, "mqtt.listener_vhosts="+port+"=tenant")
	addTenant(t, b)
	dialTo(t, b, wire.V311, "c", lasting(wire.V311)...)
	wantSessions(t, b, "tenant", "c")
}

func addTenant(t *testing.T, b *harness.Broker) {
	t.Helper()
	for _, args := range [][]string{{"add_vhost", "tenant"}, {"set_permissions", "-p", "tenant", "guest", ".*", ".*", ".*"}} {
		_, err := b.CTL(args...)
		must(t, err)
	}
}

// wantSessions checks the client identifiers of a virtual host's sessions.
func wantSessions(t *testing.T, b *harness.Broker, vhost string, want ...string) {
	t.Helper()
	out, err := b.CTL("list_mqtt_sessions", "-p", vhost, "client_id")
	must(t, err)
	if got := strings.Fields(out); !slices.Equal(got[min(1, len(got)):], want) {
		t.Errorf("sessions of %s: %q, want %q", vhost, out, want)
	}
}

// MQTT-75: sessions are listed and ended by an operator, connected or not; what
// they held goes, also from the store.
func TestMQTT75Sessions(t *testing.T) {
	b := startOwn(t)
	on := dialTo(t, b, wire.V5, "on", lasting(wire.V5)...)
	on.sub("t", 1)
	dialTo(t, b, wire.V311, "off", lasting(wire.V311)...).subAndBye("t", 1)
	dialTo(t, b, wire.V5, "stays", lasting(wire.V5)...).subAndBye("t", 1)
	out, err := b.CTL("list_mqtt_sessions", "client_id", "connected", "protocol")
	must(t, err)
	for _, want := range []string{"off false", "on true MQTT 5.0", "stays false"} {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, id := range []string{"on", "off"} {
		_, err := b.CTL("delete_mqtt_session", id)
		must(t, err)
	}
	on.dropped(wire.AdministrativeAction)
	if _, err := b.CTL("delete_mqtt_session", "nobody"); err == nil {
		t.Error("a session that does not exist was deleted")
	}
	eventually(t, "queues go", func() bool {
		list := queues(t, b)
		return !slices.Contains(list, "mqtt-subscription-onqos1") && !slices.Contains(list, "mqtt-subscription-offqos1")
	})
	must(t, b.Stop(wait))
	must(t, b.Restart())
	wantSessions(t, b, "/", "stays")
	for id, want := range map[string]bool{"on": false, "off": false, "stays": true} {
		if got := dialTo(t, b, wire.V5, id, lasting(wire.V5)...).ack.SessionPresent; got != want {
			t.Errorf("%s: session present %v", id, got)
		}
	}
}

// MQTT-75: connections by version.
func TestMQTT75Versions(t *testing.T) {
	b := startOwn(t, "listeners.metrics.address=127.0.0.1:0")
	dialTo(t, b, wire.V31, "a")
	dialTo(t, b, wire.V311, "b")
	dialTo(t, b, wire.V311, "c").bye()
	dialTo(t, b, wire.V5, "d").bye()
	eventually(t, "the numbers show up", func() bool {
		resp, err := http.Get("http://" + b.Addr("metrics") + "/metrics")
		must(t, err)
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		must(t, err)
		for _, want := range []string{"connects_v3_1_total 1", "connects_v3_1_1_total 2", "connects_v5_0_total 1",
			"connected_v3_1 1", "connected_v3_1_1 1", "connected_v5_0 0"} {
			if !strings.Contains(string(body), "hermod_mqtt_"+want+"\n") {
				return false
			}
		}
		return true
	})
}

// MQTT-6: the longest client identifier there is, with all a session keeps, across
// a kill; ones that differ in their last byte are different.
func TestMQTT6LongestClientID(t *testing.T) {
	b := startOwn(t)
	long := strings.Repeat("ü", 32767)
	a, other := long+"a", long+"b"
	r := dialTo(t, b, wire.V5, a, lasting(wire.V5)...)
	r.sub("t", 2)
	p := dialTo(t, b, wire.V5, "p")
	p.publish("t", "sent", 2)
	sent := r.take()
	r.cut()
	dialTo(t, b, wire.V311, other, lasting(wire.V311)...).subAndBye("u", 1)
	p.publish("t", "waits", 1)
	b.Kill()
	must(t, b.Restart())
	r = dialTo(t, b, wire.V5, a, lasting(wire.V5)...)
	if !r.ack.SessionPresent {
		t.Fatal("session is gone")
	}
	if again := r.want("sent")[0]; !again.Dup || again.PacketID != sent.PacketID {
		t.Errorf("identifier %d, DUP %v; before the kill identifier %d", again.PacketID, again.Dup, sent.PacketID)
	}
	r.want("waits")
	r.silent()
	if !dialTo(t, b, wire.V311, other, lasting(wire.V311)...).ack.SessionPresent {
		t.Error("the other session is gone")
	}
	r = dialTo(t, b, wire.V5, a, clean)
	if r.ack.SessionPresent {
		t.Error("session present with clean start")
	}
	r.bye()
	b.Kill()
	must(t, b.Restart())
	if dialTo(t, b, wire.V5, a, keep).ack.SessionPresent {
		t.Error("the session that was ended is there again")
	}
}
