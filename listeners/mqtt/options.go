package mqtt

import (
	"log/slog"
	"time"

	"github.com/hermodmq/hermod/broker"
)

// Options configure the MQTT listener. The zero value of a field means its
// default.
type Options struct {
	VHost string // of users that name none; "/"
	// ListenerVHosts are virtual hosts by the name or the port of the listener, and
	// CertVHosts by the name a client certificate proves: of users that name none,
	// the certificate first.
	ListenerVHosts, CertVHosts map[string]string

	// CertClientID lets a client with a verified certificate have no other client
	// identifier than the name in it, which an empty one stands for.
	CertClientID bool

	IgnoreColons bool // take user names as they are instead of as vhost:user
	Anonymous    bool // admit clients without user name; the broker decides who they are

	MaxPacketSize    int           // bytes; 16 MiB and 64 KiB more
	MaxUnauthPacket  int           // bytes of the first packet; 66 KiB, for the longest client identifier
	ConnectTimeout   time.Duration // from accept to CONNECT; 30 s
	PacketTimeout    time.Duration // for the rest of a packet that has begun, besides what its length takes; 60 s
	MaxKeepAlive     uint16        // seconds; longer or no keep-alive is lowered to it for MQTT 5; 0: none
	ReceiveMaximum   uint16        // unacknowledged publishes of a client; 65535
	Inflight         uint16        // unacknowledged messages to a client; 2048
	TopicAliases     uint16        // aliases a client may set; 64, and as many are used towards it
	MaxSubscriptions int           // of a session; 10000
	MaxTopicLevels   int           // of a topic or filter; 128
	BufferQoS0       int           // messages that wait for a slow client at QoS 0; 1000

	// SessionExpiryMax bounds, in seconds, how long a session outlives its
	// connection; 0 is no bound. V3SessionExpiry is how long those of MQTT 3
	// with clean session 0 do; 0 is for ever, or SessionExpiryMax.
	SessionExpiryMax uint32
	V3SessionExpiry  uint32

	// KeepRefused acknowledges what an MQTT 3 client may not publish and drops
	// it, instead of closing the connection.
	KeepRefused bool

	MaxConnectTime time.Duration // how long a connection may last; 0: for ever
	ConnectRate    int           // CONNECTs per second of the whole listener; 0: no bound
	TakeoverRate   int           // how often in a second a session may go from one connection to another; 0: no bound
	PublishRate    int           // messages a client may publish in a second; 0: no bound

	// What waits for a session or a shared subscription at QoS 1 and 2, in
	// messages and bytes of their bodies; 0 is no bound. What is beyond is refused
	// (reason 0x97), or, with DropOldest, the oldest message goes.
	MaxQueued      int64
	MaxQueuedBytes int64
	DropOldest     bool

	// What is not offered (section 3.2.2.3).
	NoQoS1, NoQoS2, NoRetain, NoWildcards, NoShared, NoSubscriptionIDs bool

	CheckPayload bool // refuse payloads that claim to be UTF-8 and are not

	Shares ShareStrategy // who gets the messages of a shared subscription

	// Copies sends a message once for each subscription of a session that matches
	// it, instead of once for all.
	Copies bool

	Banned          func(clientID string) bool // may be nil; called on event loops
	Methods         []Method                   // of enhanced authentication
	ResponseInfo    string                     // for clients that ask; {client_id} stands for theirs; "" is none
	ServerReference string                     // where clients are sent when the server shuts down; "" is nowhere

	Moved bool // refuse all clients and send them to ServerReference for good

	SysInterval time.Duration // between updates of the $SYS topics; 0: there are none
	Version     string        // $SYS/broker/version

	Logger *slog.Logger // nil is silent
}

// maxQoS is the highest QoS that is offered.
func (o *Options) maxQoS() byte {
	switch {
	case o.NoQoS1:
		return 0
	case o.NoQoS2:
		return 1
	}
	return 2
}

// queueArgs are the arguments of the queues of QoS 1 and 2.
func (o *Options) queueArgs() broker.Table {
	var args broker.Table
	if o.MaxQueued > 0 {
		args = append(args, broker.Field{Name: "x-max-length", Value: o.MaxQueued})
	}
	if o.MaxQueuedBytes > 0 {
		args = append(args, broker.Field{Name: "x-max-length-bytes", Value: o.MaxQueuedBytes})
	}
	if args != nil && !o.DropOldest {
		args = append(args, broker.Field{Name: "x-overflow", Value: "reject-publish"})
	}
	return args
}

const neverExpires = ^uint32(0)

func orDefault[T ~int | ~uint16 | ~uint32 | ~int64](v, or T) T {
	if v <= 0 {
		return or
	}
	return v
}

func (o Options) withDefaults() Options {
	if o.VHost == "" {
		o.VHost = "/"
	}
	o.MaxPacketSize = orDefault(o.MaxPacketSize, 16<<20+64<<10)
	o.MaxUnauthPacket = min(orDefault(o.MaxUnauthPacket, 66<<10), o.MaxPacketSize)
	o.ConnectTimeout = orDefault(o.ConnectTimeout, 30*time.Second)
	o.PacketTimeout = orDefault(o.PacketTimeout, time.Minute)
	o.ReceiveMaximum = orDefault(o.ReceiveMaximum, 65535)
	o.Inflight = orDefault(o.Inflight, 2048)
	o.TopicAliases = orDefault(o.TopicAliases, 64)
	o.MaxSubscriptions = orDefault(o.MaxSubscriptions, 10000)
	o.MaxTopicLevels = orDefault(o.MaxTopicLevels, 128)
	o.BufferQoS0 = orDefault(o.BufferQoS0, 1000)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// sessionExpiry is the expiry a session gets that asks for want.
func (o *Options) sessionExpiry(want uint32) uint32 {
	if o.SessionExpiryMax > 0 {
		return min(want, o.SessionExpiryMax)
	}
	return want
}

// v3Expiry is the expiry of an MQTT 3 session.
func (o *Options) v3Expiry(clean bool) uint32 {
	if clean {
		return 0
	}
	return o.sessionExpiry(orDefault(o.V3SessionExpiry, neverExpires))
}
