package main

import (
	"net"
	"strings"
	"time"

	"github.com/hermodmq/hermod/broker"
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
	if n.config.HA.Enabled && n.config.OpenWire.UpdateClients {
		go n.tellOpenWire(server)
	}
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
		Prioritized: c.Prioritized, FailIfNoSpace: c.FailIfNoSpace, UserIDs: c.UserIDs,
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

// images are the topics whose last messages retroactive consumers get.
func (n *node) images() (list []broker.ImagePolicy) {
	recoveries, _ := n.config.OpenWire.Recoveries()
	for _, r := range recoveries {
		topic := broker.Destination{Kind: broker.TopicDestination, Name: r.Topic}
		list = append(list, broker.ImagePolicy{Pattern: topic.Pattern(), Messages: r.Messages, Age: r.Age.Milliseconds()})
	}
	return list
}

// clusterInterval is how often clients' knowledge of the cluster is brought up
// to date.
const clusterInterval = time.Second

// Names under which nodes tell each other where OpenWire clients reach them.
const (
	openwireEndpoint    = "openwire"
	openwireTLSEndpoint = "openwire-tls"
)

// tellOpenWire lets clients that fail over know of the other nodes, for the
// rest of the process's life.
func (n *node) tellOpenWire(server *openwire.Server) {
	for {
		var x openwire.Cluster
		for _, member := range n.raft.Status().Nodes {
			if member.Witness {
				continue
			}
			if url := member.Endpoints[openwireEndpoint]; url != "" {
				x.Plain = append(x.Plain, url)
			}
			if url := member.Endpoints[openwireTLSEndpoint]; url != "" {
				x.Secure = append(x.Secure, url)
			}
		}
		server.SetCluster(x)
		select {
		case <-time.After(clusterInterval):
		case <-n.ticked:
			return
		}
	}
}

// openwireEndpoints are where clients reach this node: as configured, else the
// addresses of the listeners, with the host at which the other nodes find it
// where they name none. peers is that host and a port.
func (n *node) openwireEndpoints(peers string) map[string]string {
	all := map[string]string{}
	add := func(name, scheme, address string) {
		if url := n.config.OpenWire.BrokerURL; strings.HasPrefix(url, scheme+":") {
			all[name] = url
			return
		}
		host, port, err := net.SplitHostPort(address) // fails where the listener is off
		if err != nil || port == "0" {
			return
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			if host, _, err = net.SplitHostPort(peers); err != nil {
				return
			}
		}
		all[name] = scheme + "://" + net.JoinHostPort(host, port)
	}
	l := n.config.Listeners.OpenWire
	add(openwireEndpoint, "tcp", l.Address)
	add(openwireTLSEndpoint, "ssl", l.TLSAddress)
	return all
}
