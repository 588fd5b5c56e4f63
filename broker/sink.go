package broker

// Sink is what a protocol session gives the core to reach its client. All
// methods may be called from any goroutine, Deliver and GetResult under a
// queue's lock: they must not block and must not call back into the core. The
// usual implementation appends an event to the mailbox of the loop that owns
// the connection.
type Sink interface {
	// Deliver hands over one message for a subscription. The order of calls is
	// the order of the queue.
	Deliver(t *Turn, d Delivery)

	// GetResult answers Session.Get; ok is false if the queue was empty.
	GetResult(t *Turn, ref uint64, d Delivery, ok bool)

	// Receipt settles a publish whose PublishResult was Pending. accepted is
	// false if a queue refused it (overflow policy reject-publish).
	Receipt(t *Turn, id uint64, accepted bool)

	// Cancelled says that the broker ended a subscription: its queue was
	// deleted, or the right to read was revoked.
	Cancelled(t *Turn, sub *Subscription)
}

// Delivery is one message handed to one subscription or getter.
type Delivery struct {
	Sub         *Subscription // nil for GetResult
	Queue       *Queue
	Msg         *Message
	Lease       Lease  // 0 if the delivery is settled by being sent
	Remaining   int    // GetResult: messages still ready
	Count       uint32 // earlier failed deliveries; see Queue.ShowsCount
	Redelivered bool
	Offset      int64 // stream offset; -1 on queues

	// Seq is the message's number in the store, which it keeps across
	// restarts; 0 if it is not stored or on streams.
	Seq uint64

	// GroupFirst says that the message is the first of its group for this
	// subscription.
	GroupFirst bool
}

// Past is what became of a message in its queue until now.
type Past struct {
	Count       uint32 // failed deliveries
	Redelivered bool   // there were deliveries, failed or not
}

// Past is that of the message before this delivery.
func (d *Delivery) Past() Past { return Past{d.Count, d.Redelivered} }

// Filter tells whether a message with its past is wanted.
type Filter func(*Message, Past) bool

// Lease is the token of an unsettled delivery, unique per queue for the life
// of the process; 0 is none.
type Lease uint64

// Outcome settles a lease (SEMANTICS section 4).
type Outcome uint8

// The outcomes.
const (
	Accepted Outcome = iota // gone
	Rejected                // dead-lettered, or dropped
	Released                // back in its old place, flagged redelivered
	Failed                  // back in its old place, flagged redelivered, count + 1
	Unsent                  // back in its old place as if never delivered
)

// Publish is one message offered to the broker.
type Publish struct {
	Exchange  string // "" is the default exchange
	Msg       *Message
	ExtraKeys []string // further routing keys (CC, BCC)
	Receipt   uint64   // id for Sink.Receipt; 0: nobody waits

	// Facts are stored in the batch of the message, so that after a crash both
	// are there or neither; see StoreFacts. Ignored in a transaction and when
	// the message reaches no queue.
	Facts []Definition
}

// PublishResult says what became of a Publish at once.
type PublishResult struct {
	Routed   bool // at least one queue took or refused it
	Pending  bool // Sink.Receipt follows
	Rejected bool // valid if !Pending: a queue refused it (reject-publish)

	// Duplicate says that a queue knew the message's deduplication id; Origin is
	// the Notes.Origin of the message that had it first.
	Duplicate bool
	Origin    string
}

// SubscribeOptions describe a consumer.
type SubscribeOptions struct {
	Queue     string
	Tag       string // the client's name for it, unique per session
	NoAck     bool   // deliveries are settled by being sent
	Exclusive bool
	Prefetch  int // most unsettled deliveries; 0: no bound of the client's; negative: see Subscription.Grant
	Args      Table
	Data      any // for Subscription.Data

	// Sole asks for everything the queue has while the subscription lasts, though
	// others may wait beside it. Of several such the one with the highest
	// priority gets it, the oldest among equals.
	Sole bool

	// Filter, if set, says which messages the consumer wants; the others stay
	// for somebody else. It runs under the queue's lock, on any goroutine: it
	// must be quick, always say the same of a message and its past, and not
	// call back.
	Filter Filter

	// Spread is how the queue's consumers share its messages. By SpreadHash, those
	// with the same SpreadKey go to one consumer, which SpreadID helps to choose:
	// the same whenever the same consumers are there; for 0 the tag helps.
	// SpreadKey is called like Filter.
	Spread    Spread
	SpreadKey func(*Message) uint64
	SpreadID  uint64
}

// ExchangeDeclare, QueueDeclare, Binding and the rest describe topology.
type ExchangeDeclare struct {
	Name       string
	Type       string
	Passive    bool
	Durable    bool
	AutoDelete bool
	Internal   bool
	Args       Table
}

// QueueDeclare asks for a queue; Name "" lets the broker choose.
type QueueDeclare struct {
	Name       string
	Passive    bool
	Durable    bool
	Exclusive  bool
	AutoDelete bool
	Args       Table

	// DeadLetters, unless empty, names the queue that a new queue's dead letters go
	// to as long as no argument or policy says otherwise. It is made when it is
	// needed. Transient messages are not kept there. It is not an argument: a queue
	// that is there is taken as it is, and another client's declaration without it is
	// equivalent.
	DeadLetters string
}

// QueueInfo answers a declare.
type QueueInfo struct {
	Name      string
	Ready     int
	Consumers int
}

// Binding names a route from an exchange to a queue or exchange.
type Binding struct {
	Source      string
	Destination string
	ToExchange  bool
	Key         string
	Args        Table
}
