package mqtt

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

func TestMQTT49Suback(t *testing.T) {
	each(t, all, func(t *testing.T, v wire.Version) {
		r := dial(t, v, unique("c"))
		p := wire.Subscribe{PacketID: 7, Filters: []wire.Filter{{Name: "a", Options: 2}, {Name: "b#", Options: 1}, {Name: "c", Options: 0}, {Name: "d", Options: 1}}}
		r.send(p.Append(nil, v))
		_, body := r.expect(wire.SUBACK)
		a, err := wire.DecodeSuback(wire.SUBACK, body, v)
		must(t, err)
		bad := wire.Reason(0x80)
		if v == wire.V5 {
			bad = wire.TopicFilterInvalid
		}
		if want := []wire.Reason{2, bad, 0, 1}; !slices.Equal(a.Codes, want) {
			t.Errorf("codes %v, want %v", a.Codes, want)
		}
	})
}

func TestMQTT50Filters(t *testing.T) {
	r := dial(t, wire.V5, unique("c"))
	for _, f := range []string{"", "a#", "#a", "a/#/b", "a+", "+a/b", "a/b+/c", "##", "++"} {
		if code := r.subscribe(f, 0); code != wire.TopicFilterInvalid {
			t.Errorf("%q: 0x%02X", f, byte(code))
		}
	}
	for _, f := range []string{"#", "+", "a/#", "+/+/#", "/", "//", "/+", "a//b", "$x/#", strings.Repeat("/x", 100)} {
		if code := r.subscribe(f, 2<<4); code.Failed() {
			t.Errorf("%q: 0x%02X", f, byte(code))
		}
		r.unsub(f)
	}
}

func TestMQTT51Replace(t *testing.T) {
	topic := unique("t")
	p := dial(t, wire.V5, unique("p"))
	p.publish(topic, "kept", 1, retained)
	r := dial(t, wire.V5, unique("s"))
	r.sub(topic, 0)
	r.want("kept")
	r.sub(topic, 2)
	r.want("kept")
	p.publish(topic, "m", 2)
	if m := r.want("m")[0]; m.QoS != 2 {
		t.Errorf("QoS %d after the subscription was replaced", m.QoS)
	}
	r.sub(topic, 0)
	r.want("kept")
	p.publish(topic, "n", 2)
	if m := r.want("n")[0]; m.QoS != 0 {
		t.Errorf("QoS %d after the subscription was lowered", m.QoS)
	}
	r.silent()
	p.publish(topic, "", 1, retained)
}

func TestMQTT52RetainHandling(t *testing.T) {
	topic := unique("t")
	dial(t, wire.V5, unique("p")).publish(topic, "kept", 1, retained)
	r := dial(t, wire.V5, unique("s"))
	r.sub(topic, 2<<4)
	r.silent()
	r.unsub(topic)
	r.sub(topic, 1<<4)
	r.want("kept")
	r.sub(topic, 1<<4)
	r.silent()
	for _, o := range []wire.Options{3 << 4, 1 << 6, 3} {
		r := dial(t, wire.V5, unique("s"))
		p := wire.Subscribe{PacketID: 1, Filters: []wire.Filter{{Name: "a", Options: o}}}
		r.send(p.Append(nil, r.v))
		r.dropped(wire.MalformedPacket)
	}
}

func TestMQTT53RetainedWildcards(t *testing.T) {
	root := unique("t")
	p := dial(t, wire.V5, unique("p"))
	for _, topic := range []string{"/a", "/a/b", "", "/b/c"} {
		p.publish(root+topic, "r"+topic, 2, retained)
	}
	for filter, want := range map[string]int{"/#": 4, "/+": 1, "/a/#": 2, "/+/+": 2, "/x": 0} {
		r := dial(t, wire.V5, unique("s"))
		r.sub(root+filter, 1)
		for range want {
			if m := r.recv(); !m.Retain || m.QoS != 1 {
				t.Errorf("%s: RETAIN %v, QoS %d", filter, m.Retain, m.QoS)
			}
		}
		r.silent()
	}
	r := dial(t, wire.V5, unique("s"))
	r.sub("$share/g/"+root+"/#", 1)
	r.silent()
}

func TestMQTT54NoLocal(t *testing.T) {
	topic := unique("t")
	r := dial(t, wire.V5, unique("c"))
	r.sub(topic, wire.NoLocal|1)
	r.publish(topic, "own", 1)
	r.silent()
	dial(t, wire.V5, unique("p")).publish(topic, "other", 1)
	r.want("other")
	p := wire.Subscribe{PacketID: 1, Filters: []wire.Filter{{Name: "$share/g/a", Options: wire.NoLocal}}}
	r.send(p.Append(nil, r.v))
	r.dropped(wire.ProtocolError)
}

func TestMQTT55SubscriptionIdentifiers(t *testing.T) {
	id := func(n uint32) wire.Properties { return wire.Properties(nil).AppendNumber(wire.SubscriptionID, n) }
	topic, client := unique("t"), unique("s")
	r := dial(t, wire.V5, client, lasting(wire.V5)...)
	r.sub(topic+"/#", 1, id(268435455))
	r.sub(topic+"/a", 2, id(1))
	r.cut()
	p := dial(t, wire.V5, unique("p"))
	p.publish(topic+"/a", "m", 2)
	r = dial(t, wire.V5, client, lasting(wire.V5)...)
	m := r.want("m")[0]
	var ids []uint32
	for v, rest, ok := m.Props.Next(); ok; v, rest, ok = rest.Next() {
		if v.ID == wire.SubscriptionID {
			ids = append(ids, v.Number)
		}
	}
	slices.Sort(ids)
	if !slices.Equal(ids, []uint32{1, 268435455}) || m.QoS != 2 {
		t.Errorf("identifiers %v, QoS %d", ids, m.QoS)
	}
	s := wire.Subscribe{PacketID: 1, Props: id(0), Filters: []wire.Filter{{Name: "a"}}}
	r.send(s.Append(nil, r.v))
	r.dropped(wire.ProtocolError)
}

func TestMQTT56Overlap(t *testing.T) {
	topic := unique("t")
	r := dial(t, wire.V311, unique("s"))
	r.sub(topic+"/#", 0)
	r.sub(topic+"/+", 2)
	r.sub(topic+"/a", 1)
	dial(t, wire.V5, unique("p")).publish(topic+"/a", "m", 2)
	if m := r.want("m")[0]; m.QoS != 2 {
		t.Errorf("QoS %d of overlapping subscriptions", m.QoS)
	}
	r.silent()
}

func TestMQTT57Unsubscribe(t *testing.T) {
	for _, b := range [][]byte{{0x82, 3, 0, 1, 0}, {0xa2, 3, 0, 1, 0}} {
		r := dial(t, wire.V5, unique("c"))
		r.send(b)
		r.dropped(wire.ProtocolError)
	}
	r := dial(t, wire.V5, unique("c"))
	r.send([]byte{0x82, 6, 0, 1, 0, 0, 1, 'a'})
	r.dropped(wire.MalformedPacket)

	topic := unique("t")
	each(t, two, func(t *testing.T, v wire.Version) {
		r := dial(t, v, unique("c"))
		r.sub(topic+"/+", 1)
		if code := r.unsub(topic + "/a"); v == wire.V5 && code != wire.NoSubscriptionExisted {
			t.Errorf("unsubscribing what does not exist: 0x%02X", byte(code))
		}
		p := dial(t, wire.V5, unique("p"))
		p.publish(topic+"/a", "m", 1)
		m := r.take()
		if code := r.unsub(topic + "/+"); code != 0 {
			t.Errorf("UNSUBACK 0x%02X", byte(code))
		}
		r.answer(wire.PUBACK, m.PacketID)
		p.publish(topic+"/a", "n", 1)
		r.silent()
	})
}

func TestMQTT58Matching(t *testing.T) {
	root := unique("m")
	for _, tt := range []struct {
		filter string
		yes    []string
		no     []string
	}{
		{root + "/#", []string{root, root + "/a", root + "/"}, []string{root + "x", strings.ToUpper(root)}},
		{root + "/+", []string{root + "/a", root + "/"}, []string{root, root + "/a/b"}},
		{"+/" + root, []string{"/" + root, "a/" + root}, []string{root, "$x/" + root}},
		{"#", nil, []string{"$x/" + root}},
		{"+/" + root + "/#", []string{"/" + root, "x/" + root + "/a/b"}, []string{"$x/" + root}},
		{"$x/" + root + "/#", []string{"$x/" + root}, nil},
		{root + "//+", []string{root + "//a", root + "//"}, []string{root + "/a"}},
		{root + "/a.b/+", []string{root + "/a.b/c"}, []string{root + "/a/b/c", root + "/a.b.c"}},
	} {
		r := dial(t, wire.V5, unique("s"))
		r.sub(tt.filter, 2<<4)
		p := dial(t, wire.V5, unique("p"))
		for _, topic := range tt.yes {
			p.publish(topic, topic, 1)
			if m := r.want(topic)[0]; string(m.Topic) != topic {
				t.Errorf("%q came as %q", topic, m.Topic)
			}
		}
		for _, topic := range tt.no {
			p.publish(topic, topic, 1)
		}
		r.silent()
	}
}

func TestMQTT59Shared(t *testing.T) {
	root := unique("sh")
	r := dial(t, wire.V5, unique("c"))
	for _, f := range []string{"$share/", "$share/g", "$share//a", "$share/g/", "$share/g+/a", "$share/g/a#"} {
		if code := r.subscribe(f, 0); code != wire.TopicFilterInvalid {
			t.Errorf("%q: 0x%02X", f, byte(code))
		}
	}
	members := []*raw{dial(t, wire.V5, unique("m")), dial(t, wire.V311, unique("m")), dial(t, wire.V5, unique("m"))}
	for i, m := range members {
		m.sub("$share/g/"+root+"/+", wire.Options(i))
	}
	other := dial(t, wire.V5, unique("o"))
	other.sub("$share/h/"+root+"/a", 1)
	p := dial(t, wire.V5, unique("p"))
	const total = 30
	for i := range total {
		p.publish(root+"/a", fmt.Sprint(i), 2)
	}
	seen := map[string]int{}
	for i, m := range members {
		for {
			h, body, err := m.read(quietTime)
			if err != nil {
				break
			}
			if h.Type != wire.PUBLISH {
				continue
			}
			got, err := wire.DecodePublish(h, body, m.v, true)
			must(t, err)
			if got.QoS != byte(i) {
				t.Errorf("member %d got QoS %d", i, got.QoS)
			}
			seen[string(got.Payload)]++
		}
	}
	if len(seen) != total {
		t.Errorf("%d of %d messages arrived", len(seen), total)
	}
	for payload, n := range seen {
		if n != 1 {
			t.Errorf("message %s went to %d members", payload, n)
		}
	}
	for i := range total {
		other.want(fmt.Sprint(i))
	}
}

func TestMQTT60SharedMembers(t *testing.T) {
	root := unique("sh")
	filter := "$share/g/" + root
	off, id := unique("off"), unique("on")
	dial(t, wire.V5, off, lasting(wire.V5)...).subAndBye(filter, 1)
	on := dial(t, wire.V5, id, lasting(wire.V5)...)
	on.sub(filter, 1)
	p := dial(t, wire.V5, unique("p"))
	for i := range 10 {
		p.publish(root, fmt.Sprint(i), 1)
		on.want(fmt.Sprint(i)) // never the offline member
	}
	p.publish(root, "unacked", 1)
	on.take()
	on.cut()
	back := dial(t, wire.V5, off, lasting(wire.V5)...)
	back.want("unacked") // from a member that died
	back.bye()
	p.publish(root, "waits", 1)
	dial(t, wire.V5, id, lasting(wire.V5)...).want("waits") // for whoever comes first
}

func TestMQTT61SharedQueue(t *testing.T) {
	root := unique("sh")
	r := dial(t, wire.V5, unique("c"))
	r.sub("$share/g/"+root, 1)
	name := "mqtt-shared-g-" + root
	if !slices.Contains(queues(t, shared), name) {
		t.Errorf("no queue %s", name)
	}
	r.unsub("$share/g/" + root)
	if slices.Contains(queues(t, shared), name) {
		t.Errorf("queue %s outlives its last member", name)
	}
}

func TestMQTT80Churn(t *testing.T) {
	root := unique("t")
	r := dial(t, wire.V5, unique("c"))
	var filters []wire.Filter
	for i := range 500 {
		filters = append(filters, wire.Filter{Name: fmt.Sprintf("%s/%d/+/x", root, i), Options: 1})
	}
	s := wire.Subscribe{PacketID: 1, Filters: filters}
	r.send(s.Append(nil, r.v))
	r.expect(wire.SUBACK)
	dial(t, wire.V5, unique("p")).publish(root+"/499/y/x", "m", 1)
	r.want("m")
	for _, f := range filters {
		r.unsub(f.Name)
	}
}

func TestMQTT81ManyRetained(t *testing.T) {
	root := unique("t")
	p := dial(t, wire.V5, unique("p"))
	const total = 5000
	for i := range total {
		p.publish(fmt.Sprintf("%s/%d", root, i), "r", 0, retained)
	}
	p.ping()
	r := dial(t, wire.V5, unique("s"), number(wire.ReceiveMaximum, 10))
	r.sub(root+"/#", 1)
	for range total {
		r.recv()
	}
	r.silent()
}

func TestMQTT82FlagsOfMQTT31(t *testing.T) {
	r := dial(t, wire.V31, unique("c"))
	r.send([]byte{0x8a, 6, 0, 1, 0, 1, 'a', 0}) // SUBSCRIBE with DUP
	r.expect(wire.SUBACK)
	r = dial(t, wire.V311, unique("c"))
	r.send([]byte{0x80, 6, 0, 1, 0, 1, 'a', 0})
	r.closed()
}
