package broker

// LaneID names a lane of the store: a sequence of messages in which each
// message has a sequence number. A queue has one lane, or one per priority
// level plus one for delayed messages; a stream has one. Ids start at 1 and
// are never reused.
type LaneID uint64

// Store keeps the facts the core must not lose. It has three implementations
// (memory, one node, cluster) that pass the same contract suite.
//
// Order: batches commit in the order of their Append calls (calls that race
// are ordered by the store). Sequence numbers of a lane start at 1, have no
// gaps and follow the commit order.
//
// Failure: a batch either commits or the process ends (or, in a cluster, the
// node stops being active and every connection is closed): there is no third
// outcome that a caller must handle, and nothing is ever reported as "not
// stored".
type Store interface {
	// Recover returns what the store holds. It is called once, before anything
	// else.
	Recover() (*Recovered, error)

	// Append gives b its place in the order and returns at once; it never
	// blocks on disk or network. b and everything it refers to must stay
	// unchanged until b.Then.Committed runs; if Then is nil, until Append
	// returns. Append never calls Committed before it returns.
	Append(b *Batch)

	// Read hands over unsettled messages of a lane in order. r.Then runs
	// exactly once on a goroutine of the store, after every commit that
	// happened before the call is visible.
	Read(r *ReadRequest)

	// Congested reports that more is in flight than the store wants to hold:
	// callers stop taking publishes (never settlements) until it is relieved.
	// Cheap enough to call per publish.
	Congested() bool

	// OnRelief runs f once, on a goroutine of the store, when the store is not
	// congested (at once if it is not now).
	OnRelief(f func())

	// Close makes a checkpoint and releases everything. No call may follow.
	Close() error
}

// Batch is a set of facts that commit together or not at all.
type Batch struct {
	Publishes   []StorePublish
	Settles     []StoreSettle
	Counts      []StoreCount
	Leases      []StoreLease
	Trims       []StoreTrim
	Definitions []Definition

	// Then is told when the batch is durable (by the store's confirm mode) and
	// applied; nil if nobody waits. By then Targets[i].Seq are set.
	Then Committer
}

// Committer is told about a commit on the store's commit goroutine, in commit
// order. It must not block; t belongs to that goroutine.
type Committer interface {
	Committed(t *Turn)
}

// StorePublish adds one message to one or more lanes. The body is kept once
// per batch however many lanes there are.
type StorePublish struct {
	Msg     *Message
	Targets []StoreTarget // at least one; a lane appears at most once
}

// StoreTarget is one lane a message goes to.
type StoreTarget struct {
	Lane   LaneID
	Expiry int64  // Unix ms at which it expires in this lane; 0: never. Kept beside the message so that expired ones are found without decoding
	Seq    uint64 // set by the store at commit
}

// StoreSettle removes First..First+Count-1 of a lane for good.
type StoreSettle struct {
	Lane  LaneID
	First uint64
	Count uint64
}

// StoreCount records how often a message was handed out and came back, which
// ends its lease.
type StoreCount struct {
	Lane  LaneID
	Seq   uint64
	Count uint32
}

// StoreLease records that a message was handed out until a deadline: it is not
// to be seen before, whatever happens to the process. It replaces what is known
// of an earlier lease, and ends with the message's settlement, its next
// StoreCount, or a StoreLease without deadline. In a batch leases follow counts.
type StoreLease struct {
	Lane     LaneID
	Seq      uint64
	Deadline int64  // Unix ms; 0: the lease is over
	Since    int64  // Unix ms at which it was handed out
	First    int64  // and for the first time
	Expiry   int64  // of the message, as in StoreTarget
	Nonce    uint32 // tells apart what was handed out in the same millisecond
	Count    uint32 // how often it was handed out before
	Size     uint32 // bytes of its body
	Unseen   bool   // nobody was given the message: the lease only hides it
	Group    string // of the message, if that binds others; at most 64 KiB
}

// StoreTrim removes all messages of a lane below Before; with Drop the lane
// itself goes and its id is never used again.
type StoreTrim struct {
	Lane   LaneID
	Before uint64
	Drop   bool
}

// Definition is a named fact: a vhost, exchange, queue, binding, policy, user,
// cursor, retained value. Kind and Key are the core's; Value is opaque to the
// store. Delete removes it.
type Definition struct {
	Kind   string // at most 64 bytes
	Key    string // at most 64 KiB
	Value  []byte // at most 16 MiB
	Delete bool
}

// ReadRequest asks for messages of a lane.
type ReadRequest struct {
	Lane     LaneID
	From     uint64 // first sequence number wanted
	To       uint64 // last one wanted; 0: no bound
	Max      int    // at most this many messages (> 0)
	MaxBytes int    // stop after this many bytes of stored messages (at least one is returned)

	// ExpiredBefore, if not 0, returns only messages whose Expiry is set and
	// <= ExpiredBefore.
	ExpiredBefore int64

	// Then gets the messages and the sequence number at which to go on. Turn
	// and slice belong to the store; messages may be kept.
	Then func(t *Turn, msgs []Stored, next uint64, err error)
}

// Stored is a message read back.
type Stored struct {
	Seq    uint64
	Expiry int64
	Count  uint32 // from StoreCount
	Msg    *Message
}

// Recovered is the state a store starts with.
type Recovered struct {
	Definitions []Definition
	Lanes       []LaneState
	NextLane    LaneID // first id that was never used
}

// LaneState summarises one lane. Reading it costs the store no bodies.
type LaneState struct {
	Lane      LaneID
	First     uint64 // lowest unsettled sequence number; == Next if none
	Next      uint64 // sequence number the next message will get
	Count     uint64 // unsettled messages
	Bytes     uint64 // bytes of their bodies
	FirstTime int64  // Received of the oldest unsettled message, 0 if unknown
	Timed     bool   // some unsettled message has an Expiry

	Leases []StoreLease // that did not end, by Seq; deadlines may have passed
}
