package mqtt

import (
	"fmt"
	"testing"

	"github.com/hermodmq/hermod/conformance/harness"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// members are three members of the shared subscription $share/g/#.
func members(t *testing.T, b *harness.Broker) []*raw {
	t.Helper()
	var list []*raw
	for i := range 3 {
		m := dialTo(t, b, wire.V5, fmt.Sprint("m", i))
		m.sub("$share/g/#", 1)
		list = append(list, m)
	}
	return list
}

// received takes everything the members get until they are quiet: who got what,
// in the order of the payloads' arrival.
func received(t *testing.T, list []*raw, want int) map[string]int {
	t.Helper()
	who := map[string]int{}
	for i, m := range list {
		for {
			h, body, err := m.read(quietTime)
			if err != nil {
				if !timedOut(err) {
					t.Fatal(err)
				}
				break
			}
			p, err := wire.DecodePublish(h, body, m.v, true)
			must(t, err)
			if h.Type != wire.PUBLISH {
				t.Fatalf("got %s", h.Type)
			}
			m.answer(wire.PUBACK, p.PacketID)
			if _, twice := who[string(p.Payload)]; twice {
				t.Errorf("%s came twice", p.Payload)
			}
			who[string(p.Payload)] = i
		}
	}
	if len(who) != want {
		t.Fatalf("%d messages, want %d", len(who), want)
	}
	return who
}

// byKey tells which member got the messages of each key, and checks that there
// is one.
func byKey(t *testing.T, who map[string]int, key func(payload string) string) map[string]int {
	t.Helper()
	owner := map[string]int{}
	used := map[int]bool{}
	for payload, member := range who {
		k := key(payload)
		if other, ok := owner[k]; ok && other != member {
			t.Errorf("key %s went to members %d and %d", k, other, member)
		}
		owner[k] = member
		used[member] = true
	}
	if len(used) < 2 {
		t.Errorf("one member got all of %d keys", len(owner))
	}
	return owner
}

func keyOf(payload string) string {
	var key, n int
	_, _ = fmt.Sscanf(payload, "%d-%d", &key, &n)
	return fmt.Sprint(key)
}

// MQTT-61: messages with the same topic go to the same member as long as it is
// there, to another one afterwards, and to the first again when it comes back.
func TestMQTT61HashTopic(t *testing.T) {
	b := startOwn(t, "mqtt.shared_strategy=hash_topic")
	list := members(t, b)
	p := dialTo(t, b, wire.V5, "p")
	round := 0
	publish := func() map[string]int {
		for key := range 24 {
			for n := range 2 {
				p.publish(fmt.Sprint("t/", key), fmt.Sprint(key, "-", round+n), 1)
			}
		}
		round += 2
		return byKey(t, received(t, list, 48), keyOf)
	}
	before := publish()
	list[1].bye()
	list = []*raw{list[0], list[2]}
	without := publish()
	for key, member := range before {
		if member != 1 && without[key] != member/2 {
			t.Errorf("topic %s moved between members that stayed", key)
		}
	}
	back := dialTo(t, b, wire.V5, "m1")
	back.sub("$share/g/#", 1)
	list = []*raw{list[0], back, list[1]}
	for key, member := range publish() {
		if member != before[key] {
			t.Errorf("topic %s is with member %d, was with %d", key, member, before[key])
		}
	}
}

// MQTT-61: messages of one publishing client go to the same member.
func TestMQTT61HashClient(t *testing.T) {
	b := startOwn(t, "mqtt.shared_strategy=hash_client")
	list := members(t, b)
	for key := range 24 {
		p := dialTo(t, b, wire.V311, fmt.Sprint("publisher-", key))
		for n := range 4 {
			p.publish(fmt.Sprint("t/", n), fmt.Sprint(key, "-", n), 1)
		}
		p.bye()
	}
	byKey(t, received(t, list, 96), keyOf)
}

// MQTT-61: by chance: every member gets some, and not in turn.
func TestMQTT61Random(t *testing.T) {
	b := startOwn(t, "mqtt.shared_strategy=random")
	list := members(t, b)
	p := dialTo(t, b, wire.V5, "p")
	const n = 120
	for i := range n {
		p.publish("t", fmt.Sprint(i), 1)
	}
	who := received(t, list, n)
	count, repeats := map[int]int{}, 0
	for i := range n {
		member := who[fmt.Sprint(i)]
		count[member]++
		if i > 0 && who[fmt.Sprint(i-1)] == member {
			repeats++
		}
	}
	if len(count) != 3 || repeats == 0 {
		t.Errorf("members got %v of %d, %d times two in a row", count, n, repeats)
	}
}
