package wire

// Type is the code of a data type.
type Type uint8

// The codes of messages and destinations, of which one Go type stands for
// several, and that of the two forms of a TransactionID.
const (
	TypeNull Type = 0

	TypeMessage       Type = 23
	TypeBytesMessage  Type = 24
	TypeMapMessage    Type = 25
	TypeObjectMessage Type = 26
	TypeStreamMessage Type = 27
	TypeTextMessage   Type = 28
	TypeBlobMessage   Type = 29

	TypeQueue     Type = 100
	TypeTopic     Type = 101
	TypeTempQueue Type = 102
	TypeTempTopic Type = 103

	TypeLocalTransactionID Type = 111
	TypeXATransactionID    Type = 112
)

// String names the type.
func (t Type) String() string {
	if s := structureName(t); s != "" {
		return s
	}
	switch t {
	case TypeMessage:
		return "Message"
	case TypeBytesMessage:
		return "BytesMessage"
	case TypeMapMessage:
		return "MapMessage"
	case TypeObjectMessage:
		return "ObjectMessage"
	case TypeStreamMessage:
		return "StreamMessage"
	case TypeTextMessage:
		return "TextMessage"
	case TypeBlobMessage:
		return "BlobMessage"
	case TypeQueue:
		return "Queue"
	case TypeTopic:
		return "Topic"
	case TypeTempQueue:
		return "TempQueue"
	case TypeTempTopic:
		return "TempTopic"
	case TypeLocalTransactionID:
		return "LocalTransactionID"
	case TypeXATransactionID:
		return "XATransactionID"
	}
	return "unknown type"
}

// IsMessage reports whether a structure of type t is a *Message.
func (t Type) IsMessage() bool { return t >= TypeMessage && t <= TypeBlobMessage }

// IsDestination reports whether a structure of type t is a Destination.
func (t Type) IsDestination() bool { return t >= TypeQueue && t <= TypeTempTopic }

// Structure is a data structure of OpenWire: a command, a message, an id, a
// destination. Commands and messages are pointers, ids and destinations
// values.
type Structure interface {
	Type() Type
	append(a *appender)
}

// Command is a structure with a command id, to which a response may be due.
type Command interface {
	Structure
	Head() *Header
}

// Header begins every command.
type Header struct {
	CommandID        int32
	ResponseRequired bool
}

// Head implements Command.
func (h *Header) Head() *Header { return h }

// Operations of TransactionInfo.
const (
	TxBegin          int8 = 0
	TxPrepare        int8 = 1
	TxCommitOnePhase int8 = 2
	TxCommitTwoPhase int8 = 3
	TxRollback       int8 = 4
	TxRecover        int8 = 5
	TxForget         int8 = 6
	TxEnd            int8 = 7
)

// Operations of DestinationInfo.
const (
	DestinationAdd    int8 = 0
	DestinationRemove int8 = 1
)

// Types of MessageAck.
const (
	AckDelivered   int8 = 0 // widens the window, settles nothing
	AckPoison      int8 = 1 // to the dead letters
	AckStandard    int8 = 2 // consumed, first to last
	AckRedelivered int8 = 3 // the client redelivers by itself
	AckIndividual  int8 = 4 // consumed, the last only
	AckUnmatched   int8 = 5 // the selector of a durable subscription did not match
	AckExpired     int8 = 6
)

// Values of RemoveInfo.LastDeliveredSequenceID that are no sequence number.
const (
	LastDeliveredUnset   int64 = -1 // nothing was delivered to the application
	LastDeliveredUnknown int64 = -2
)

// HasSelector tells an empty selector, which is invalid, from none.
func (s *ConsumerInfo) HasSelector() bool { return s.Selector != "" || s.flags&1 != 0 }

// Blob is what a BlobMessage has beyond other messages.
type Blob struct {
	RemoteURL       string
	MimeType        string
	DeletedByBroker bool

	flags uint8
}

// Throwable is an exception of Java as it travels. What a peer sends is text
// for logs and dead letters: nothing acts on it.
type Throwable struct {
	ClassName string
	Message   string
	Trace     []TraceElement // only with Format.StackTrace
	Cause     *Throwable     // only with Format.StackTrace

	flags uint8
}

// TraceElement is one line of a stack trace.
type TraceElement struct {
	Class, Method, File string
	Line                int32

	flags uint8
}
