package openwire

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/hermodmq/hermod/broker/topic"
)

// Options configure the OpenWire listener. The zero value of a field means its
// default.
type Options struct {
	// Broker is the name clients see; "localhost". URL is where they find it.
	Broker string
	URL    string

	// DefaultVHost is entered by clients whose user name names none; "/".
	DefaultVHost string

	// DefaultUser and DefaultPassword log in clients that give no user name. If
	// DefaultUser is "", they are anonymous, which the broker may refuse.
	DefaultUser, DefaultPassword string

	// DeadLetterQueue gets what clients poison and what expires from queues
	// that were made for them; "ActiveMQ.DLQ". Destinations whose names
	// IndividualDeadLetters matches have a queue of their own, whose name begins
	// so. These and the lists below are names with the wildcards * and >.
	DeadLetterQueue       string
	IndividualDeadLetters []string

	// Prioritized are queues that deliver by JMSPriority when they are made over
	// OpenWire.
	Prioritized []string

	// FailIfNoSpace are destinations for which there is an exception when there
	// is no room for a message, instead of a wait.
	FailIfNoSpace []string

	// PendingLimits bound what waits, beyond its prefetch, for a slow consumer
	// of a topic that is not durable: the oldest messages are dropped. The first
	// that matches counts; what the client asks for comes before.
	PendingLimits []PendingLimit

	// UserIDs writes the name of its user into every message as JMSXUserID.
	UserIDs bool

	// ConnectedBrokers is told to clients that fail over: where else they may
	// connect. With Rebalance they are asked to spread over these.
	ConnectedBrokers []string
	Rebalance        bool

	MaxFrame      int           // bytes; what the broker's largest message needs
	MaxInactivity time.Duration // after which a silent client is gone, offered to it; 30 s; negative: never

	Consumers        int // of a connection; 10000
	Producers        int // of a connection; 10000
	Temporary        int // destinations of a connection; 20000
	Transactions     int // open at once on a connection; 1000
	TransactionSize  int // commands in one transaction; 100000
	TransactionBytes int // bytes of messages in all transactions of a connection; 64 MiB
	Parked           int // bytes of messages of a connection that wait for room before reading pauses; 4 MiB

	HandshakeTimeout time.Duration // from accept to the login; 10 s

	Logger *slog.Logger // nil is silent
}

// PendingLimit is a bound for the topics that a name with wildcards stands for.
type PendingLimit struct {
	Topic    string
	Messages int
}

// matches reports whether a name is among those that wildcards stand for.
func matches(list []string, name string) bool {
	for _, p := range list {
		if topic.Match(topic.ActiveMQ(p), name) {
			return true
		}
	}
	return false
}

// frameOverhead is what a frame may have beside the body of its message.
const frameOverhead = 1 << 20

func orNumber[T ~int | ~int64](v, or T) T {
	if v <= 0 {
		return or
	}
	return v
}

// withDefaults returns o with every unset field filled. maxBody is the largest
// body the broker takes.
func (o Options) withDefaults(maxBody int64) Options {
	o.Broker = cmp.Or(o.Broker, "localhost")
	o.DefaultVHost = cmp.Or(o.DefaultVHost, "/")
	o.DeadLetterQueue = cmp.Or(o.DeadLetterQueue, "ActiveMQ.DLQ")
	o.MaxFrame = orNumber(o.MaxFrame, int(maxBody)+frameOverhead)
	if o.MaxInactivity == 0 {
		o.MaxInactivity = 30 * time.Second
	}
	o.MaxInactivity = max(o.MaxInactivity, 0)
	o.Consumers = orNumber(o.Consumers, 10000)
	o.Producers = orNumber(o.Producers, 10000)
	o.Temporary = orNumber(o.Temporary, 20000)
	o.Transactions = orNumber(o.Transactions, 1000)
	o.TransactionSize = orNumber(o.TransactionSize, 100_000)
	o.TransactionBytes = orNumber(o.TransactionBytes, 64<<20)
	o.Parked = orNumber(o.Parked, 4<<20)
	o.HandshakeTimeout = orNumber(o.HandshakeTimeout, 10*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// MaxFrameSize is the largest frame in bytes, size included, that a listener
// with these options takes when bodies may have maxBody bytes: what the
// transport has to allow.
func (o Options) MaxFrameSize(maxBody int64) int { return o.withDefaults(maxBody).MaxFrame + 4 }
