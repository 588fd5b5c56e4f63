package stomp

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/topic"
)

func TestDestinations(t *testing.T) {
	for _, c := range []struct {
		dialect  Dialect
		text     string
		kind     destKind
		exchange string
		key      string
	}{
		{RabbitMQ, "/queue/a.b", destQueue, "", "a.b"},
		{RabbitMQ, "/queue/a%2Fb%25", destQueue, "", "a/b%"},
		{RabbitMQ, "/queue/100%", destQueue, "", "100%"},
		{RabbitMQ, "/queue/a,b", destQueue, "", "a,b"},
		{RabbitMQ, "bare", destQueue, "", "bare"},
		{RabbitMQ, "/amq/queue/a", destAMQQueue, "", "a"},
		{RabbitMQ, "/reply-queue/a", destReply, "", "a"},
		{RabbitMQ, "/topic/a.*", destTopic, "amq.topic", "a.*"},
		{RabbitMQ, "/exchange/x", destExchange, "x", ""},
		{RabbitMQ, "/exchange/x/k.1", destExchange, "x", "k.1"},
		{RabbitMQ, "/queue/a,/topic/b", destComposite, "", ""},
		{ActiveMQ, "/queue/a/b%2F", destQueue, "", "a/b%2F"},
		{ActiveMQ, "/queue/a?consumer.prefetchSize=1", destQueue, "", "a"},
		{ActiveMQ, "queue://a", destQueue, "", "a"},
		{ActiveMQ, "topic://a.>", destTopic, "amq.topic", "a.>"},
		{ActiveMQ, "/nosuch/a", destQueue, "", "/nosuch/a"},
		{ActiveMQ, "/queue/a,b", destComposite, "", ""},
		{ActiveMQ, "/remote-temp-queue/a", destReply, "", "a"},
	} {
		d, err := parseDestination(c.dialect, c.text)
		if err != nil || d.kind != c.kind || d.exchange != c.exchange || d.key != c.key {
			t.Errorf("%q: %+v, %v", c.text, d, err)
		}
	}
	for text, message := range map[string]string{
		"": "Unknown destination", "/": "Unknown destination", "/queue": "Unknown destination", "/nosuch/a": "Unknown destination",
		"/queue/": "Invalid destination", "/queue/a/b": "Invalid destination", "/topic/": "Invalid destination",
		"/exchange/": "Invalid destination", "/amq/queue/": "Invalid destination", "/queue/a,/nosuch/b": "Unknown destination",
		"/queue/" + strings.Repeat("a", 5000):         "Invalid destination",
		strings.Repeat("/queue/a,", 100) + "/queue/b": "Invalid destination",
	} {
		if _, err := parseDestination(RabbitMQ, text); err == nil || problemOf(err).message != message {
			t.Errorf("%.40q: %v, want %s", text, err, message)
		}
	}
}

// TestOrigins: where a message came from is written so that it is read back.
func TestOrigins(t *testing.T) {
	for _, d := range []Dialect{RabbitMQ, ActiveMQ} {
		for _, name := range []string{"a", "a.b", "a b%"} {
			for _, exchange := range []string{"", "amq.topic", "x"} {
				text := string(appendOrigin(nil, d, &broker.Message{Exchange: exchange, RoutingKey: name}))
				got, err := parseDestination(d, text)
				if err != nil || got.exchange != exchange || got.key != name {
					t.Errorf("%q from %q: %q reads as %+v, %v", name, exchange, text, got, err)
				}
			}
		}
	}
	if got := string(appendOrigin(nil, RabbitMQ, &broker.Message{RoutingKey: "a/b"})); got != "/queue/a%2Fb" {
		t.Errorf("slash: %q", got)
	}
}

// TestWildcardVectors covers STOMP-30 with what ActiveMQ was seen to match.
// Middle words ">" are left out: topics here cannot contain one.
func TestWildcardVectors(t *testing.T) {
	file, err := os.Open("../../broker/selector/testdata/vectors.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var v struct {
			Pattern, Name string
			Match         bool
		}
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		if v.Pattern == "" {
			continue
		}
		n++
		if got := matchTopic(bindingKey(ActiveMQ, v.Pattern), v.Name); got != v.Match {
			t.Errorf("%q and %q: %v, want %v", v.Pattern, v.Name, got, v.Match)
		}
	}
	if n < 20 {
		t.Errorf("only %d vectors", n)
	}
}

// matchTopic asks the core's own index.
func matchTopic(pattern, name string) bool {
	var index topic.Trie[int]
	index.Add(pattern, 1)
	return len(index.AppendMatches(nil, name)) == 1
}
