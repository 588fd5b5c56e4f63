package mqtt

import (
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// FuzzConn sends arbitrary packets on a connection that has a session, and
// checks that nothing panics and that nothing is left when it is over.
func FuzzConn(f *testing.F) {
	sub := wire.Subscribe{PacketID: 1, Filters: []wire.Filter{{Name: "#", Options: 2}, {Name: "$share/g/a", Options: 1}}}
	seed := sub.Append(nil, wire.V5)
	for qos := range byte(3) {
		p := wire.Publish{Topic: []byte("a"), QoS: qos, Retain: true, Payload: []byte("x")}
		if qos > 0 {
			p.PacketID = 1
		}
		seed = p.Append(seed, wire.V5)
	}
	for t := wire.PUBACK; t <= wire.PUBCOMP; t++ {
		a := wire.Ack{Type: t, PacketID: 1}
		seed = a.Append(seed, wire.V5)
	}
	unsub := wire.Unsubscribe{PacketID: 2, Filters: []string{"#", "$share/g/a"}}
	f.Add(unsub.Append(seed, wire.V5), byte(2), true)
	f.Add(seed, byte(2), false)
	f.Add([]byte("\x82\x06\x00\x01\x00\x01a\x01\x32\x06\x00\x01a\x00\x01x"), byte(1), true)
	f.Fuzz(func(t *testing.T, b []byte, version byte, durable bool) {
		w := newWorld(t, Options{MaxPacketSize: 1 << 16})
		c := w.open(wire.V31 + wire.Version(version%3))
		begin(w, c, durable)
		for i := 0; i < len(b); i += 37 {
			c.p.Send(b[i:min(i+37, len(b))])
			w.commit()
		}
		c.p.HangUp(nil)
		w.commit()
		w.tick(2_000_000_000_000) // every session that can expire
		if all, connected := w.v.Sessions(); connected != 0 || all > 1 {
			t.Fatalf("%d sessions, %d of them connected", all, connected)
		}
		if n := w.m.Connections(); n != 0 {
			t.Fatalf("%d connections are left", n)
		}
	})
}

// begin gives a connection its session without the login, which needs workers.
func begin(w *world, c *client, durable bool) {
	k := c.c
	k.begin()
	k.version, k.clientID, k.quota = c.v, "fuzz", 10
	k.connect = &wire.Connect{Version: c.v, CleanStart: true}
	if durable {
		k.expiry = 100
	}
	k.state = authenticating
	k.loggedIn(&loginResult{user: &broker.User{Name: "guest"}, vhost: "/"})
	k.EndTurn()
	if durable {
		w.commit()
	}
	if k.state != running {
		w.t.Fatal("no session")
	}
}
