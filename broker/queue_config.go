package broker

// QueueKind tells how a queue keeps its messages.
type QueueKind uint8

// The kinds. Quorum queues are ordinary durable queues with a delivery limit
// and a visible delivery count; replication is the store's business.
const (
	KindClassic QueueKind = iota
	KindQuorum
	KindStream
)

// Overflow says what happens when a queue is at its length limit.
type Overflow uint8

// The overflow policies.
const (
	DropHead Overflow = iota
	RejectPublish
	RejectPublishDLX
)

// QueueConfig is the effective configuration of a queue: arguments, policy
// and operator policy merged. It is a value; a change replaces it
// (Queue.configure).
type QueueConfig struct {
	Kind       QueueKind
	Durable    bool
	Exclusive  bool
	AutoDelete bool

	MessageTTL     int64 // ms; -1: none
	Expires        int64 // ms unused before the queue deletes itself; -1: never
	MaxLength      int64 // ready messages; -1: none
	MaxLengthBytes int64 // bytes of ready bodies; -1: none
	Overflow       Overflow

	DeadLetterExchange string
	DeadLetterSet      bool // DeadLetterExchange is in force ("" is the default exchange)
	DeadLetterKey      string
	DeadLetterKeySet   bool

	// DeadLetterFallback is the queue that gets what is rejected or expires if
	// neither an argument nor a policy says where dead letters go; "" is none.
	// Transient messages are dropped all the same.
	DeadLetterFallback string

	MaxPriority   int // 0: no priorities
	SingleActive  bool
	DeliveryLimit int   // failed deliveries before dead-lettering; -1: none
	ConsumerTTL   int64 // ms a delivery may stay unsettled; -1: for ever

	LeaseGroups bool  // SQS FIFO rule: no message while an earlier one of its group is unsettled
	DedupWindow int64 // ms; 0: no deduplication unless a message asks through Notes.DedupID on a queue with DedupWindow

	// What services on top of the core set.
	DedupGroups bool // deduplication ids count within their group only
	DropExpired bool // expired messages are dropped, never dead-lettered
	KeepCounts  bool // the store remembers how often messages were handed out
	AgedTTL     bool // MessageTTL counts from Message.Received, so also before the queue

	MaxAge int64 // streams: ms; -1: none
}
