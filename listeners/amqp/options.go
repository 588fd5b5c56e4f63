package amqp

import (
	"cmp"
	"log/slog"
	"time"
)

// Options configure the AMQP 0-9-1 listener. The zero value of a field means
// its default.
type Options struct {
	// Server properties of connection.start. Clients sniff product and
	// version: Celery limits consumers channel-wide only for product
	// "RabbitMQ" with a version from 3.3 up to 4.0.
	Product     string // "RabbitMQ"
	Version     string // "3.13.7"
	Platform    string // "Hermod"
	Information string // "Hermod message broker"
	Copyright   string // ""
	ClusterName string // the broker's node name

	ChannelMax uint16 // channels per connection; 2047
	FrameMax   uint32 // bytes per frame, at least 4096; 131072
	Heartbeat  uint16 // seconds proposed to clients; 60, NoHeartbeat proposes 0

	// Anonymous offers the mechanism ANONYMOUS; the broker decides who such a
	// client is.
	Anonymous bool

	ConsumersPerChannel int // bound of basic.consume; 10000
	PendingReplies      int // replies of a connection that wait for the store before reading pauses; 1024

	HandshakeTimeout time.Duration // from accept to connection.open; 10 s
	CloseTimeout     time.Duration // wait for close-ok; 30 s
	RefusalDelay     time.Duration // before a failed login without explanation is hung up; 1 s

	Logger *slog.Logger // nil is silent
}

// NoHeartbeat proposes to clients that no heartbeats be sent.
const NoHeartbeat = ^uint16(0)

// initialFrameMax bounds frames until tuning is done; connection.start-ok with
// a certificate's worth of client properties fits.
const initialFrameMax = 8192

// lowestFrameMax is the least a client may ask for: the specification's
// minimum, which RabbitMQ has raised since, to the grief of clients.
const lowestFrameMax = 4096

// maxDeclaredBody is the greatest body size that is answered by closing only
// the channel.
const maxDeclaredBody = 512 << 20

func orNumber[T ~int | ~uint16 | ~uint32 | ~int64](v, or T) T {
	if v <= 0 {
		return or
	}
	return v
}

// withDefaults returns o with every unset field filled.
func (o Options) withDefaults(node string) Options {
	o.Product = cmp.Or(o.Product, "RabbitMQ")
	o.Version = cmp.Or(o.Version, "3.13.7")
	o.Platform = cmp.Or(o.Platform, "Hermod")
	o.Information = cmp.Or(o.Information, "Hermod message broker")
	o.ClusterName = cmp.Or(o.ClusterName, node)
	o.ChannelMax = orNumber(o.ChannelMax, 2047)
	o.FrameMax = max(orNumber(o.FrameMax, 131072), lowestFrameMax)
	switch o.Heartbeat {
	case 0:
		o.Heartbeat = 60
	case NoHeartbeat:
		o.Heartbeat = 0
	}
	o.ConsumersPerChannel = orNumber(o.ConsumersPerChannel, 10000)
	o.PendingReplies = orNumber(o.PendingReplies, 1024)
	o.HandshakeTimeout = orNumber(o.HandshakeTimeout, 10*time.Second)
	o.CloseTimeout = orNumber(o.CloseTimeout, 30*time.Second)
	o.RefusalDelay = orNumber(o.RefusalDelay, time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}
