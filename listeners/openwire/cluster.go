package openwire

import (
	"slices"
	"strings"

	"github.com/hermodmq/hermod/listeners/openwire/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// Cluster is where clients find the nodes of a cluster: URLs for clients that
// came without TLS and for those that came with it.
type Cluster struct{ Plain, Secure []string }

// SetCluster says which nodes there are, this one included. Clients that fail
// over are told, those that are connected as well if something has changed.
// Safe for concurrent use.
func (s *Server) SetCluster(x Cluster) {
	x.Plain, x.Secure = slices.Sorted(slices.Values(x.Plain)), slices.Sorted(slices.Values(x.Secure))
	h := &s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.Equal(h.brokers.Plain, x.Plain) && slices.Equal(h.brokers.Secure, x.Secure) {
		return
	}
	h.brokers = x
	for _, r := range h.rooms {
		for _, m := range r.members {
			m.link.Post(transport.Event{Kind: eventCluster})
		}
	}
}

// cluster is the list that SetCluster gave last, for clients with or without
// TLS. It does not change.
func (h *hub) cluster(secure bool) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if secure {
		return h.brokers.Secure
	}
	return h.brokers.Plain
}

// tellCluster tells the client where else it may connect. What is configured
// comes before what the nodes of a cluster know of each other, of which only
// one serves: nobody is asked to spread over these.
func (c *conn) tellCluster() {
	if c.state != running || !c.manageable {
		return
	}
	list, rebalance := c.opt.ConnectedBrokers, c.opt.Rebalance
	if len(list) == 0 {
		i := c.link.Info()
		list, rebalance = c.server.hub.cluster(i != nil && i.TLS != nil), false
	}
	c.send(&wire.ConnectionControl{ConnectedBrokers: strings.Join(list, ","), RebalanceConnection: rebalance})
}
