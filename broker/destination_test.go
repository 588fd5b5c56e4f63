package broker_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/broker"
)

func TestParseDestinations(t *testing.T) {
	const q, p, tq, tp = broker.QueueDestination, broker.TopicDestination, broker.TempQueueDestination, broker.TempTopicDestination
	for _, tt := range []struct {
		text string
		kind broker.DestinationKind
		want []broker.Destination // nil: Invalid
	}{
		{"a", q, []broker.Destination{{q, "a"}}},
		{"a", p, []broker.Destination{{p, "a"}}},
		{"a,b,topic://c", q, []broker.Destination{{q, "a"}, {q, "b"}, {p, "c"}}},
		{"a , queue://b", p, []broker.Destination{{p, "a"}, {q, "b"}}},
		{"temp-queue://x:1,temp-topic://x:2", q, []broker.Destination{{tq, "x:1"}, {tp, "x:2"}}},
		{"a,a,queue://a", q, []broker.Destination{{q, "a"}}},
		{"topic://a,a", p, []broker.Destination{{p, "a"}}},
		{"a?consumer.prefetchSize=1,b?x=y", q, []broker.Destination{{q, "a"}, {q, "b"}}},
		{"a/b c.>", q, []broker.Destination{{q, "a/b c.>"}}},
		{"😀", p, []broker.Destination{{p, "😀"}}},
		{"", q, nil}, {"a,", q, nil}, {",", q, nil}, {"topic://", q, nil}, {"?x", q, nil},
		{strings.Repeat("n", 255), q, []broker.Destination{{q, strings.Repeat("n", 255)}}},
		{strings.Repeat("n", 256), q, nil},
		{strings.Repeat("n,", 5000) + "n", q, nil},
	} {
		got, err := broker.ParseDestinations(tt.text, tt.kind)
		if tt.want == nil {
			if e, ok := err.(*broker.Error); !ok || e.Kind != broker.Invalid {
				t.Errorf("%.40q: %v, %v", tt.text, got, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%.40q: got %v, %v; want %v", tt.text, got, err, tt.want)
		}
	}
	var many []string
	for i := range 65 {
		many = append(many, fmt.Sprint(i))
	}
	if _, err := broker.ParseDestinations(strings.Join(many[:64], ","), q); err != nil {
		t.Error(err)
	}
	if _, err := broker.ParseDestinations(strings.Join(many, ","), q); err == nil {
		t.Error("65 destinations are taken")
	}
}

func TestDestination(t *testing.T) {
	for _, tt := range []struct {
		d       broker.Destination
		wild    bool
		pattern string
		text    string
	}{
		{broker.Destination{Kind: broker.QueueDestination, Name: "A.B"}, false, "A.B", "queue://A.B"},
		{broker.Destination{Kind: broker.QueueDestination, Name: "A.>"}, true, "A.#", "queue://A.>"},
		{broker.Destination{Kind: broker.TopicDestination, Name: "*.B"}, true, "*.B", "topic://*.B"},
		{broker.Destination{Kind: broker.QueueDestination, Name: "Consumer.A.VirtualTopic.>"}, false, "Consumer.A.VirtualTopic.#", "queue://Consumer.A.VirtualTopic.>"},
		{broker.Destination{Kind: broker.QueueDestination, Name: "Consumer.*.VirtualTopic.x"}, true, "Consumer.*.VirtualTopic.x", "queue://Consumer.*.VirtualTopic.x"},
		{broker.Destination{Kind: broker.TopicDestination, Name: "VirtualTopic.>"}, true, "VirtualTopic.#", "topic://VirtualTopic.>"},
	} {
		if tt.d.Wild() != tt.wild || tt.d.Pattern() != tt.pattern || tt.d.String() != tt.text {
			t.Errorf("%v: wild %v, pattern %q", tt.d, tt.d.Wild(), tt.d.Pattern())
		}
	}
}

func TestVirtualTopic(t *testing.T) {
	for name, want := range map[string]string{
		"Consumer.A.VirtualTopic.x":     "VirtualTopic.x",
		"Consumer.A.VirtualTopic.x.y":   "VirtualTopic.x.y",
		"Consumer.A.VirtualTopic":       "VirtualTopic",
		"Consumer.A.VirtualTopic.>":     "VirtualTopic.#",
		"Consumer.A.VirtualTopic.*":     "VirtualTopic.*",
		"Consumer.A.VirtualTopicX":      "",
		"Consumer.A.B.VirtualTopic.x":   "",
		"Consumer..VirtualTopic.x":      "",
		"Consumer.*.VirtualTopic.x":     "",
		"Consumer.VirtualTopic.x":       "",
		"consumer.A.VirtualTopic.x":     "",
		"VirtualTopic.x":                "",
		"Consumer.A.VirtualTopic.#.#.#": "",
	} {
		got, ok := broker.VirtualTopic(name)
		if got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v; want %q", name, got, ok, want)
		}
	}
}

func TestDurableSubscriptionNames(t *testing.T) {
	seen := map[string]string{}
	for _, pair := range [][2]string{{"a", "b.c"}, {"a.b", "c"}, {`a\`, "b"}, {"a", `\.b`}, {`a\.b`, "c"}} {
		d := broker.DurableSubscription(pair[0], pair[1])
		if other := seen[d.Name]; other != "" || !d.Durable {
			t.Errorf("%v and %s share %q", pair, other, d.Name)
		}
		seen[d.Name] = strings.Join(pair[:], " ")
	}
}
