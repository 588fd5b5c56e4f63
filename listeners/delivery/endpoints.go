package delivery

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/transport"
)

// Describe tells the core which ends a connection has. i may be nil.
func Describe(o *broker.ConnectionOptions, i *transport.Info) {
	if i == nil {
		return
	}
	o.Peer, o.PeerPort = transport.SplitAddr(i.Remote)
	o.Host, o.Port = transport.SplitAddr(i.Local)
	o.Name = i.RemoteString() + " -> " + i.LocalString()
	o.TLS = i.TLS != nil
}
