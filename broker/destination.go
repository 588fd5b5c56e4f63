package broker

import (
	"slices"
	"strings"

	"github.com/hermodmq/hermod/broker/topic"
)

// TopicExchange is where topics live: topic prices.eu is its key prices.eu.
const TopicExchange = "amq.topic"

// DestinationKind says what a name of JMS stands for.
type DestinationKind uint8

// The kinds.
const (
	QueueDestination DestinationKind = iota
	TopicDestination
	TempQueueDestination
	TempTopicDestination
	destinationKinds
)

var destinationPrefixes = [destinationKinds]string{"queue://", "topic://", "temp-queue://", "temp-topic://"}

// Destination is a queue or topic as clients of ActiveMQ name it. A queue's
// name is the core's; a topic's is its routing key in TopicExchange. In a name
// to consume from, the word * stands for one word and > at the end for any
// number.
type Destination struct {
	Kind DestinationKind
	Name string
}

// Bounds of the names that ParseDestinations takes.
const (
	maxDestinations    = 64
	maxDestinationText = 8 << 10
)

// ParseDestinations reads a name that may be a list: "a,b,topic://c" are the
// queues a and b, if kind is that of queues, and the topic c. Options behind a
// question mark are dropped, repeated destinations are one. The error is
// Invalid.
func ParseDestinations(text string, kind DestinationKind) ([]Destination, error) {
	if len(text) > maxDestinationText {
		return nil, errf(Invalid, "destination is longer than %d bytes", maxDestinationText)
	}
	list := make([]Destination, 0, 1)
	for rest, more := text, true; more; {
		var part string
		part, rest, more = strings.Cut(rest, ",")
		d, err := parseDestination(strings.TrimSpace(part), kind)
		if err != nil {
			return nil, err
		}
		if slices.Contains(list, d) {
			continue
		}
		if len(list) == maxDestinations {
			return nil, errf(Invalid, "more than %d destinations in a list", maxDestinations)
		}
		list = append(list, d)
	}
	return list, nil
}

func parseDestination(part string, kind DestinationKind) (Destination, error) {
	d := Destination{Kind: kind, Name: part}
	for k, prefix := range destinationPrefixes {
		if name, ok := strings.CutPrefix(part, prefix); ok {
			d = Destination{Kind: DestinationKind(k), Name: name}
			break
		}
	}
	d.Name, _, _ = strings.Cut(d.Name, "?")
	switch {
	case d.Name == "":
		return d, errf(Invalid, "invalid destination '%s': empty name", part)
	case !d.IsTopic() && len(d.Name) > maxName:
		return d, errf(Invalid, "queue name is longer than %d bytes", maxName)
	}
	return d, nil
}

// IsTopic reports whether the destination is a topic, temporary or not.
func (d Destination) IsTopic() bool {
	return d.Kind == TopicDestination || d.Kind == TempTopicDestination
}

// Wild reports whether the name stands for several. The queue of a virtual
// topic may have > at the end of its name and is one queue all the same: that
// of all topics below.
func (d Destination) Wild() bool {
	if !topic.Wild(d.Name) {
		return false
	}
	if d.Kind == QueueDestination {
		_, virtual := VirtualTopic(d.Name)
		return !virtual
	}
	return true
}

// Pattern is the name in words as package topic matches them: the key to bind
// a topic with, or what FanIn.AddMatching and QueuesMatching take.
func (d Destination) Pattern() string { return topic.ActiveMQ(d.Name) }

// String is the name with its prefix: "queue://a".
func (d Destination) String() string { return destinationPrefixes[d.Kind] + d.Name }

// A virtual topic is a topic whose name begins with this word; what is sent to
// it reaches the queues that begin with virtualConsumer, one more word and the
// topic's name.
const (
	virtualTopic    = "VirtualTopic"
	virtualConsumer = "Consumer"
)

// VirtualTopic says which topics feed the queue called name by their names
// alone: "Consumer.billing.VirtualTopic.orders" gets everything that is sent
// to the topic VirtualTopic.orders, "Consumer.billing.VirtualTopic.>" what is
// sent to all virtual topics.
func VirtualTopic(name string) (pattern string, ok bool) {
	rest, ok := strings.CutPrefix(name, virtualConsumer+".")
	if !ok {
		return "", false
	}
	group, rest, ok := strings.Cut(rest, ".")
	if !ok || group == "" || group == "*" || rest != virtualTopic && !strings.HasPrefix(rest, virtualTopic+".") {
		return "", false
	}
	pattern = topic.ActiveMQ(rest)
	if topic.Hashes(pattern) > maxTopicHashes {
		return "", false
	}
	return pattern, true
}

// DurableSubscription describes the queue of a durable subscription of JMS: the
// client id and the subscription's name with a dot between, dots of their own
// escaped. See Session.OpenDurable.
func DurableSubscription(clientID, name string) QueueDeclare {
	escape := strings.NewReplacer(`\`, `\\`, `.`, `\.`)
	d := QueueDeclare{Name: escape.Replace(clientID) + "." + escape.Replace(name), Durable: true}
	MarkSubscription(&d)
	return d
}
