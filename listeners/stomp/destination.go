package stomp

import (
	"slices"
	"strings"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/topic"
)

// destKind is what a destination names.
type destKind uint8

const (
	destQueue     destKind = iota // /queue/N: made on first use
	destAMQQueue                  // /amq/queue/N: must be there
	destReply                     // /reply-queue/N: a queue of somebody's temporary destination
	destTopic                     // /topic/K
	destExchange                  // /exchange/X[/K]
	destTempQueue                 // /temp-queue/N: of this connection
	destTempTopic                 // /temp-topic/N: of this connection
	destComposite                 // several, to send to only
)

// destination is a parsed destination header.
type destination struct {
	text     string
	kind     destKind
	name     string // of the queue or temporary destination, decoded
	exchange string // where messages are published
	key      string // with which routing key, and topics bound
	wild     bool   // a queue's name stands for several
	parts    []*destination
}

// topical reports whether a destination is what an exchange routes.
func (dest *destination) topical() bool {
	return dest.kind == destTopic || dest.kind == destExchange || dest.kind == destTempTopic
}

const topicExchange = broker.TopicExchange

const (
	queuePrefix     = "/queue/"
	amqQueuePrefix  = "/amq/queue/"
	replyPrefix     = "/reply-queue/"
	remotePrefix    = "/remote-temp-queue/"
	topicPrefix     = "/topic/"
	exchangePrefix  = "/exchange/"
	tempQueuePrefix = "/temp-queue/"
	tempTopicPrefix = "/temp-topic/"
)

// validTypes is what RabbitMQ tells about unknown destinations.
const validTypes = "/temp-queue/, /exchange/, /topic/, /amq/queue/, /queue/, /reply-queue/"

// maxDestination bounds a destination's length, and the parts of a composite
// one.
const (
	maxDestination = 4 << 10
	maxParts       = 64
)

// parseDestination reads a destination header as dialect d understands it.
func parseDestination(d Dialect, text string) (*destination, error) {
	if len(text) > maxDestination {
		return nil, refuse("Invalid destination", "Destination is longer than %d bytes\n", maxDestination)
	}
	if parts := splitComposite(d, text); len(parts) > 1 {
		return parseComposite(d, text, parts)
	}
	if d == ActiveMQ {
		text, _, _ = strings.Cut(text, "?") // options of ActiveMQ's clients
	}
	dest := &destination{text: text}
	rest := ""
	switch {
	case cut(text, queuePrefix, &rest):
		return dest.queue(d, destQueue, "queue", rest)
	case cut(text, "queue://", &rest) && d == ActiveMQ:
		return dest.queue(d, destQueue, "queue", rest)
	case cut(text, amqQueuePrefix, &rest):
		return dest.queue(d, destAMQQueue, "amqqueue", rest)
	case cut(text, replyPrefix, &rest), cut(text, remotePrefix, &rest):
		return dest.queue(d, destReply, "reply-queue", rest)
	case cut(text, topicPrefix, &rest), cut(text, "topic://", &rest) && d == ActiveMQ:
		return dest.topic(d, rest)
	case cut(text, exchangePrefix, &rest):
		return dest.toExchange(d, rest)
	case cut(text, tempQueuePrefix, &rest) && rest != "":
		dest.kind, dest.name = destTempQueue, rest
		return dest, nil
	case cut(text, tempTopicPrefix, &rest) && rest != "":
		dest.kind, dest.name = destTempTopic, rest
		return dest, nil
	case d == ActiveMQ && text != "":
		return dest.queue(d, destQueue, "queue", text)
	case text != "" && text[0] != '/':
		dest.kind, dest.name, dest.key = destQueue, text, text
		return dest, nil
	}
	return nil, refuse("Unknown destination", "'%s' is not a valid destination.\nValid destination types are: %s.\n", text, validTypes)
}

func cut(s, prefix string, rest *string) bool {
	after, ok := strings.CutPrefix(s, prefix)
	if ok {
		*rest = after
	}
	return ok
}

// splitComposite splits a list of destinations. RabbitMQ's clients may have
// commas in names, so that there a comma counts only before a prefix.
func splitComposite(d Dialect, text string) []string {
	if !strings.Contains(text, ",") {
		return nil
	}
	var parts []string
	for _, p := range strings.Split(text, ",") {
		p = strings.TrimSpace(p)
		if n := len(parts); n > 0 && d != ActiveMQ && !strings.HasPrefix(p, "/") {
			parts[n-1] += "," + p
			continue
		}
		parts = append(parts, p)
	}
	return parts
}

func parseComposite(d Dialect, text string, parts []string) (*destination, error) {
	if len(parts) > maxParts {
		return nil, refuse("Invalid destination", "More than %d destinations in a list\n", maxParts)
	}
	dest := &destination{text: text, kind: destComposite}
	for _, p := range parts {
		part, err := parseDestination(d, p)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(dest.parts, func(other *destination) bool { return other.text == part.text }) {
			dest.parts = append(dest.parts, part)
		}
	}
	if len(dest.parts) == 1 {
		return dest.parts[0], nil
	}
	return dest, nil
}

func (dest *destination) queue(d Dialect, k destKind, what, rest string) (*destination, error) {
	name, ok := decodeName(d, rest)
	if !ok || name == "" {
		return nil, invalidDestination(what, rest)
	}
	dest.kind, dest.name, dest.key = k, name, name
	dest.wild = d == ActiveMQ && k == destQueue && broker.Destination{Name: name}.Wild()
	return dest, nil
}

func (dest *destination) topic(d Dialect, rest string) (*destination, error) {
	key, ok := decodeName(d, rest)
	if !ok || key == "" {
		return nil, invalidDestination("topic", rest)
	}
	dest.kind, dest.exchange, dest.key = destTopic, topicExchange, key
	return dest, nil
}

func (dest *destination) toExchange(d Dialect, rest string) (*destination, error) {
	name, key, _ := strings.Cut(rest, "/")
	exchange, ok := decodeName(d, name)
	if !ok || exchange == "" {
		return nil, invalidDestination("exchange", rest)
	}
	if key, ok = decodeName(RabbitMQ, key); !ok && d != ActiveMQ {
		return nil, invalidDestination("exchange", rest)
	}
	dest.kind, dest.exchange, dest.key = destExchange, exchange, key
	return dest, nil
}

func invalidDestination(what, rest string) error {
	return refuse("Invalid destination", "'/%s' is not a valid %s destination\n", rest, what)
}

// decodeName resolves %XX; RabbitMQ's names have slashes in no other way.
// ActiveMQ takes names as they are.
func decodeName(d Dialect, s string) (string, bool) {
	if d == ActiveMQ {
		return s, true
	}
	if strings.Contains(s, "/") {
		return "", false
	}
	if !strings.Contains(s, "%") {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && hex(s[i+1]) >= 0 && hex(s[i+2]) >= 0 {
			b.WriteByte(byte(hex(s[i+1])<<4 | hex(s[i+2])))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String(), true
}

func hex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// appendName appends a name as decodeName reads it.
func appendName(dst []byte, d Dialect, s string) []byte {
	if d == ActiveMQ || strings.IndexByte(s, '/') < 0 && strings.IndexByte(s, '%') < 0 {
		return append(dst, s...)
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '/':
			dst = append(dst, "%2F"...)
		case '%':
			dst = append(dst, "%25"...)
		default:
			dst = append(dst, s[i])
		}
	}
	return dst
}

// appendOrigin appends the destination a message was sent to, as a client of
// dialect d would name it.
func appendOrigin(dst []byte, d Dialect, m *broker.Message) []byte {
	switch m.Exchange {
	case "":
		return appendName(append(dst, queuePrefix...), d, m.RoutingKey)
	case topicExchange:
		return appendName(append(dst, topicPrefix...), d, m.RoutingKey)
	}
	dst = appendName(append(dst, exchangePrefix...), d, m.Exchange)
	dst = append(dst, '/')
	return appendName(dst, RabbitMQ, m.RoutingKey)
}

// bindingKey is the pattern under which a subscription to topic key is bound.
func bindingKey(d Dialect, key string) string {
	if d != ActiveMQ {
		return key
	}
	return topic.ActiveMQ(key)
}

// addressOf is the queue or the topic that an address in reply-to names; what
// is no address of ours is the name of a queue.
func addressOf(text string) (name string, isTopic bool) {
	for _, prefix := range []string{replyPrefix, queuePrefix, amqQueuePrefix} {
		if rest, ok := strings.CutPrefix(text, prefix); ok && rest != "" {
			return decoded(rest), false
		}
	}
	for _, prefix := range []string{topicPrefix, exchangePrefix + topicExchange + "/"} {
		if rest, ok := strings.CutPrefix(text, prefix); ok && rest != "" {
			return decoded(rest), true
		}
	}
	return text, false
}

func decoded(rest string) string {
	if name, ok := decodeName(RabbitMQ, rest); ok {
		return name
	}
	return rest
}
