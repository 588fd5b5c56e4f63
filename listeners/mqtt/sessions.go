package mqtt

import (
	"cmp"
	"slices"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/transport"
)

// SessionStatus is a session as operators see it.
type SessionStatus struct {
	ClientID  string `json:"client_id"`
	VHost     string `json:"vhost"`
	Connected bool   `json:"connected"`
	Protocol  string `json:"protocol"` // of the connection; "" without one
	Queue     string `json:"queue"`    // what QoS 1 and 2 wait in, if there are such subscriptions
}

// ListSessions returns the sessions of a virtual host by client identifier.
func (v *Server) ListSessions(vhost string) []SessionStatus {
	var list []SessionStatus
	v.mu.Lock()
	for key, s := range v.sessions {
		if key.vhost != vhost {
			continue
		}
		st := SessionStatus{ClientID: key.client, VHost: key.vhost, Queue: queueName("mqtt-subscription-", key.client) + "qos1"}
		if s.owner != nil && s.owner != v.reaper {
			st.Connected, st.Protocol = true, protocolNames[s.owner.version]
		}
		list = append(list, st)
	}
	v.mu.Unlock()
	slices.SortFunc(list, func(a, b SessionStatus) int { return cmp.Compare(a.ClientID, b.ClientID) })
	return list
}

// EndSession ends a session with all it holds, as its expiry would, and closes its
// connection with reason 0x98; false if there is no such session. The connection
// and what it held may go a moment after the call.
func (v *Server) EndSession(t *broker.Turn, vhost, clientID string) bool {
	v.mu.Lock()
	s := v.sessions[sessionKey{vhost, clientID}]
	if s == nil {
		v.mu.Unlock()
		return false
	}
	if owner := s.owner; owner != nil {
		v.mu.Unlock()
		if owner != v.reaper {
			owner.link.Post(transport.Event{Kind: eventEnd})
		}
		return true
	}
	s.owner = v.reaper
	v.mu.Unlock()
	s.end(t)
	v.release(s, v.reaper)
	return true
}
