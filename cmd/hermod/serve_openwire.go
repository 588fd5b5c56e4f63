package main

import (
	"time"

	"github.com/hermodmq/hermod/cmd/hermod/config"
	"github.com/hermodmq/hermod/listeners/openwire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// openOpenWire opens the OpenWire listeners.
func (n *node) openOpenWire() error {
	l := n.config.Listeners.OpenWire
	t := newTurn()
	server := openwire.NewServer(t, n.core)
	endTurn(t)
	if err := n.listen(n.openwireListener(server, "openwire", l.Address)); err != nil {
		return err
	}
	if l.TLSAddress == config.Off {
		return nil
	}
	secure, err := n.tlsConfig()
	if err != nil {
		return err
	}
	tls := n.openwireListener(server, "openwire-tls", l.TLSAddress)
	tls.TLS = secure
	return n.listen(tls)
}

func (n *node) openwireListener(server *openwire.Server, name, address string) transport.Listener {
	c := n.config.OpenWire
	o := openwire.Options{
		Broker: n.config.Node.Name, URL: c.BrokerURL,
		DefaultVHost: c.DefaultVHost, DefaultUser: c.DefaultUser, DefaultPassword: c.DefaultPassword,
		DeadLetterQueue: c.DeadLetterQueue, IndividualDeadLetters: c.Individual,
		Prioritized: c.Prioritized, FailIfNoSpace: c.FailIfNoSpace, LastImage: c.LastImage, UserIDs: c.UserIDs,
		ConnectedBrokers: c.ConnectedBrokers, Rebalance: c.Rebalance,
		MaxInactivity: time.Duration(c.MaxInactivity) * time.Millisecond,
		Logger:        n.log.With("component", "openwire"),
	}
	limits, _ := c.Limits()
	for _, l := range limits {
		o.PendingLimits = append(o.PendingLimits, openwire.PendingLimit(l))
	}
	if o.MaxInactivity == 0 {
		o.MaxInactivity = -1
	}
	return transport.Listener{
		Name: name, Address: address, ProxyProtocol: n.config.Listeners.OpenWire.ProxyProtocol, StallTimeout: stallTimeout,
		MaxFrame: o.MaxFrameSize(n.core.MaxMessageSize()),
		New:      server.New(o),
	}
}
