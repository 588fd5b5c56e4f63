package stomp

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// Dialect is whose customs a listener follows where STOMP says nothing.
type Dialect uint8

// The dialects. They differ in wildcards of topics, in what /temp-queue and
// names with unknown prefixes mean, in the scope of cumulative acknowledgement,
// in what NACK does, in whether the host header must name a virtual host, and
// in the headers of MESSAGE.
const (
	RabbitMQ Dialect = iota
	ActiveMQ
)

// UnknownHost is what a host header that names no virtual host means.
type UnknownHost uint8

// The meanings: an error, as for RabbitMQ, or the default virtual host, as for
// ActiveMQ, which has none.
const (
	HostByDialect UnknownHost = iota
	HostRefused
	HostIgnored
)

// Options configure the STOMP listener. The zero value of a field means its
// default.
type Options struct {
	Dialect Dialect
	Server  string // header server of CONNECTED; "Hermod"

	// DefaultVHost is entered by clients that name none; "/".
	DefaultVHost string

	// UnknownHost says what becomes of clients whose host header names no
	// virtual host, as the host names that many clients send by themselves.
	UnknownHost UnknownHost

	// ContentTypeBinary makes the body's kind for JMS consumers depend on
	// content-length alone, as in ActiveMQ: otherwise a textual content-type
	// makes it text.
	ContentTypeBinary bool

	// DeadLetterQueue gets what clients of the ActiveMQ dialect refuse with
	// NACK from queues that were made for them; "ActiveMQ.DLQ".
	DeadLetterQueue string

	MaxLine        int // bytes of a header line; 32 KiB
	MaxHeaders     int // header lines of a frame; 1000
	MaxHeaderBytes int // 128 KiB

	Subscriptions    int // of a connection; 10000
	Transactions     int // open at once on a connection; 256
	TransactionSize  int // frames in one transaction; 10000
	TransactionBytes int // bytes of messages in all transactions of a connection; 64 MiB
	PendingReplies   int // receipts of a connection that wait for the store before reading pauses; 4096

	HandshakeTimeout time.Duration // from accept to CONNECT; 10 s

	Logger *slog.Logger // nil is silent
}

// MaxFrame is the largest frame in bytes that a listener with these options
// takes when bodies may have maxBody bytes: what the transport has to allow.
func (o Options) MaxFrame(maxBody int64) int {
	return orNumber(o.MaxHeaderBytes, maxHeaderBytes) + int(maxBody) + 1
}

const (
	maxHeaderBytes = 128 << 10

	// strangerBytes bounds the headers and the body of a client that has not
	// logged in.
	strangerBytes = 16 << 10
)

func orNumber[T ~int | ~int64](v, or T) T {
	if v <= 0 {
		return or
	}
	return v
}

// withDefaults returns o with every unset field filled.
func (o Options) withDefaults() Options {
	if o.UnknownHost == HostByDialect {
		o.UnknownHost = HostRefused
		if o.Dialect == ActiveMQ {
			o.UnknownHost = HostIgnored
		}
	}
	o.Server = cmp.Or(o.Server, "Hermod")
	o.DefaultVHost = cmp.Or(o.DefaultVHost, "/")
	o.DeadLetterQueue = cmp.Or(o.DeadLetterQueue, "ActiveMQ.DLQ")
	o.MaxLine = orNumber(o.MaxLine, 32<<10)
	o.MaxHeaders = orNumber(o.MaxHeaders, 1000)
	o.MaxHeaderBytes = orNumber(o.MaxHeaderBytes, maxHeaderBytes)
	o.Subscriptions = orNumber(o.Subscriptions, 10000)
	o.Transactions = orNumber(o.Transactions, 256)
	o.TransactionSize = orNumber(o.TransactionSize, 10000)
	o.TransactionBytes = orNumber(o.TransactionBytes, 64<<20)
	o.PendingReplies = orNumber(o.PendingReplies, 4096)
	o.HandshakeTimeout = orNumber(o.HandshakeTimeout, 10*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// limits are the parser's limits for clients that have logged in.
func (o *Options) limits(maxBody int64) wire.Limits {
	return wire.Limits{Line: o.MaxLine, Headers: o.MaxHeaders, HeaderBytes: o.MaxHeaderBytes, Body: int(maxBody)}
}

// strangerLimits are those for clients that have not.
func (o *Options) strangerLimits() wire.Limits {
	return wire.Limits{
		Line: min(o.MaxLine, strangerBytes), Headers: min(o.MaxHeaders, 100),
		HeaderBytes: min(o.MaxHeaderBytes, strangerBytes), Body: strangerBytes,
	}
}
