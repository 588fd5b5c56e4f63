package mqtt

import "github.com/hermodmq/hermod/broker"

// ShareStrategy says which of the connected members of a shared subscription
// gets a message (section 4.8.2 leaves it open).
type ShareStrategy uint8

// The strategies.
const (
	ShareTurns    ShareStrategy = iota // members take turns
	ShareSticky                        // one member gets everything until it goes
	ShareRandom                        // chance decides
	ShareByClient                      // messages of one publishing client go to one member
	ShareByTopic                       // messages with one topic go to one member
)

// apply makes the options of a member's subscription.
func (way ShareStrategy) apply(o *broker.SubscribeOptions, member uint64) {
	switch way {
	case ShareRandom:
		o.Spread = broker.SpreadRandom
	case ShareByClient:
		o.Spread, o.SpreadKey, o.SpreadID = broker.SpreadHash, clientKey, member
	case ShareByTopic:
		o.Spread, o.SpreadKey, o.SpreadID = broker.SpreadHash, topicKey, member
	}
}

// clientKey tells publishers apart. Those of other protocols have no client
// identifier: their messages go by topic.
func clientKey(m *broker.Message) uint64 {
	if v := viewOf(m); v.native {
		return v.client
	}
	return topicKey(m)
}

func topicKey(m *broker.Message) uint64 { return clientHash("", m.RoutingKey) }
