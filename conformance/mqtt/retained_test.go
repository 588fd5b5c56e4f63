package mqtt

import (
	"fmt"
	"testing"

	"github.com/hermodmq/hermod/conformance/harness"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// TestMQTT81Million keeps a million retained topics, finds some of them by
// wildcards, and gets all of them under flow control.
func TestMQTT81Million(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	const plants, sensors = 1000, 1000
	b := startOwn(t)
	p := dialTo(t, b, wire.V5, "p")
	var out []byte
	for i := range plants {
		out = out[:0]
		for j := range sensors {
			m := wire.Publish{Topic: fmt.Appendf(nil, "plant/%d/sensor/%d/temp", i, j), Payload: []byte("20"), Retain: true}
			out = m.Append(out, p.v)
		}
		p.send(out)
	}
	p.ping()
	r := dialTo(t, b, wire.V5, "few")
	r.sub("plant/+/sensor/500/temp", 1)
	for range plants {
		r.recv()
	}
	r.silent()
	r = dialTo(t, b, wire.V5, "all", number(wire.ReceiveMaximum, 500))
	r.sub("#", 1)
	other := dialTo(t, b, wire.V5, "other")
	n := 0
	for ; n < plants*sensors; n++ {
		if n%100_000 == 0 {
			other.ping() // nobody waits for it
		}
		r.recv()
	}
	r.silent()
}

// MQTT-30, limits: beyond the configured number and size retained messages are
// refused; replacing and removing works.
func TestMQTT30RetainedLimits(t *testing.T) {
	b := startOwn(t, "mqtt.max_retained=3", "mqtt.max_retained_bytes=4KiB")
	p := dialTo(t, b, wire.V5, "p")
	for i := range 3 {
		if got := p.publish(fmt.Sprint("t/", i), "x", 1, retained); got.Failed() {
			t.Errorf("message %d: 0x%02X", i, byte(got))
		}
	}
	if got := p.publish("t/3", "x", 1, retained); got != wire.QuotaExceeded {
		t.Errorf("one too many: 0x%02X", byte(got))
	}
	if got := p.publish("t/0", string(make([]byte, 8000)), 1, retained); got != wire.QuotaExceeded {
		t.Errorf("too large: 0x%02X", byte(got))
	}
	p.publish("t/1", "", 1, retained)
	if got := p.publish("t/3", "x", 1, retained); got.Failed() {
		t.Errorf("after one was removed: 0x%02X", byte(got))
	}
	must(t, b.Stop(wait))
	must(t, b.Restart())
	r := dialTo(t, b, wire.V5, "r")
	r.sub("t/+", 1)
	r.want("x", "x", "x")
	r.silent()
}

// MQTT-33: an expired retained message is gone for good, not only hidden.
func TestMQTT33RetainedExpiryFreesRoom(t *testing.T) {
	b := startOwn(t, "mqtt.max_retained=1")
	p := dialTo(t, b, wire.V5, "p")
	p.publish("t/a", "x", 1, retained, props(wire.Properties(nil).AppendNumber(wire.MessageExpiry, 1)))
	if !harness.Poll(wait, func() bool { return !p.publish("t/b", "x", 1, retained).Failed() }) {
		t.Error("an expired message counts for ever")
	}
}
