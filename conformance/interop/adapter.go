package interop

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Message is a message in words that all protocols share. The zero value of a
// field says nothing.
type Message struct {
	Body            []byte
	ContentType     string
	ContentEncoding string
	Persistent      bool
	Priority        uint8
	TTL             time.Duration
	CorrelationID   string
	MessageID       string
	Type            string
	AppID           string
	Timestamp       int64 // POSIX seconds
	ReplyTo         Address

	// Headers are strings, int64, float64, bool and []byte by name. A protocol
	// that has only texts shows texts.
	Headers map[string]any
}

// Address is a queue or a topic. A topic is a list of levels, each of which may
// hold any character that a separator is elsewhere, or be empty.
type Address struct {
	Queue string
	Topic []string
}

// None reports whether the address names nothing.
func (a Address) None() bool { return a.Queue == "" && len(a.Topic) == 0 }

func (a Address) equal(b Address) bool { return a.Queue == b.Queue && slices.Equal(a.Topic, b.Topic) }

// String is for failure messages.
func (a Address) String() string {
	if a.Queue != "" {
		return "queue " + strconv.Quote(a.Queue)
	}
	return fmt.Sprintf("topic %q", a.Topic)
}

// Adapter is a protocol as a stock client of it sees it.
type Adapter interface {
	// Name stands in the names of tests.
	Name() string

	// Reaches reports whether the protocol can send to and receive from an
	// address.
	Reaches(a Address) bool

	// Says is what of a message a sender can express; Shows what a receiver is
	// told of a message that has arrived as m.
	Says(m Message) Message
	Shows(m Message) Message

	// Connect opens a connection of a client to the broker at addr(listener).
	Connect(addr func(listener string) string) (Client, error)
}

// Client is a connection. Its methods return when the broker has confirmed.
type Client interface {
	Send(to Address, m Message) error

	// Listen makes sure that the address exists and passes on what arrives.
	Listen(at Address) (<-chan Message, error)

	Close()
}

// adapters are what the tests run over, and settings what their listeners need.
var (
	adapters []Adapter
	settings []string
)

// register adds a protocol.
func register(a Adapter, set ...string) {
	adapters = append(adapters, a)
	settings = append(settings, set...)
}

// key is a topic as a routing key of AMQP: levels are words, a dot within a
// level is a slash and the other way round.
func key(levels []string) string {
	swap := strings.NewReplacer(".", "/", "/", ".")
	words := make([]string, len(levels))
	for i, level := range levels {
		words[i] = swap.Replace(level)
	}
	return strings.Join(words, ".")
}

// levels undoes key.
func levels(key string) []string {
	swap := strings.NewReplacer(".", "/", "/", ".")
	words := strings.Split(key, ".")
	for i, word := range words {
		words[i] = swap.Replace(word)
	}
	return words
}

// texts makes every header the text that protocols without types write. What
// is no text becomes what binary makes of it, or is left out if that is nil.
func texts(headers map[string]any, binary func([]byte) string) map[string]any {
	out := map[string]any{}
	for name, v := range headers {
		switch v := v.(type) {
		case []byte:
			if utf8.Valid(v) && !slices.Contains(v, 0) {
				out[name] = string(v)
			} else if binary != nil {
				out[name] = binary(v)
			}
		case float64:
			out[name] = strconv.FormatFloat(v, 'g', -1, 64)
		default:
			out[name] = fmt.Sprint(v)
		}
	}
	return out
}

// difference says what of got is not as wanted, "" if nothing. A time to live
// may have shrunk a little.
func difference(got, want Message) string {
	var out []string
	note := func(what string, g, w any) { out = append(out, fmt.Sprintf("%s is %v, want %v", what, g, w)) }
	if string(got.Body) != string(want.Body) {
		note("body", fmt.Sprintf("%d bytes %.40q", len(got.Body), got.Body), fmt.Sprintf("%d bytes %.40q", len(want.Body), want.Body))
	}
	for _, f := range []struct {
		what      string
		got, want any
	}{
		{"content type", got.ContentType, want.ContentType}, {"content encoding", got.ContentEncoding, want.ContentEncoding},
		{"persistent", got.Persistent, want.Persistent}, {"priority", got.Priority, want.Priority},
		{"correlation id", got.CorrelationID, want.CorrelationID}, {"message id", got.MessageID, want.MessageID},
		{"type", got.Type, want.Type}, {"app id", got.AppID, want.AppID}, {"timestamp", got.Timestamp, want.Timestamp},
	} {
		if f.got != f.want {
			note(f.what, f.got, f.want)
		}
	}
	if left := want.TTL - got.TTL; left < 0 || left > 20*time.Second || (want.TTL == 0) != (got.TTL == 0) {
		note("time to live", got.TTL, want.TTL)
	}
	if !got.ReplyTo.equal(want.ReplyTo) {
		note("reply to", got.ReplyTo, want.ReplyTo)
	}
	for name, w := range want.Headers {
		g, ok := got.Headers[name]
		if !ok || fmt.Sprintf("%T %v", g, g) != fmt.Sprintf("%T %v", w, w) {
			note("header "+name, fmt.Sprintf("%T %v", g, g), fmt.Sprintf("%T %v", w, w))
		}
	}
	for name, g := range got.Headers {
		if _, ok := want.Headers[name]; !ok {
			note("header "+name, fmt.Sprintf("%T %v", g, g), "nothing")
		}
	}
	return strings.Join(out, "; ")
}
