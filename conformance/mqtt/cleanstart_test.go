package mqtt

import (
	"testing"

	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// MQTT-18: a session that a clean start has ended is gone when the client is let
// in, also for a broker that is killed then.
func TestMQTT18CleanStartAcrossKill(t *testing.T) {
	b := startOwn(t)
	for range 10 {
		dialTo(t, b, wire.V5, "s", lasting(wire.V5)...).subAndBye("t", 1)
		dialTo(t, b, wire.V5, "s", clean)
		b.Kill()
		must(t, b.Restart())
		if dialTo(t, b, wire.V5, "s", keep).ack.SessionPresent {
			t.Fatal("the session that was ended is there again")
		}
	}
}
