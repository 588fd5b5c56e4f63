package mqtt

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/topic"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// scheduleWill starts the will's delay; the will is due at the latest when the
// session ends [MQTT-3.1.3-9].
func (s *session) scheduleWill(now int64) {
	if s.will == nil {
		return
	}
	delay := s.will.Props.Number(wire.WillDelay, 0)
	s.willAt = max(now+int64(min(delay, s.expiry))*1000, 1)
}

// publishWill publishes the will and forgets it. by is the conversation of the
// connection that left it, whose rights count; nil is the broker's own.
func (s *session) publishWill(t *broker.Turn, by *broker.Session) {
	w := s.will
	s.will, s.willAt = nil, 0
	if w == nil {
		return
	}
	if by == nil {
		by = s.consume()
	}
	m := &broker.Message{
		Exchange: exchange, RoutingKey: string(topic.Slashes(nil, w.Topic)),
		Native: appendNative(nil, w.QoS, w.Retain, s.hash, w.Props), Body: w.Payload,
		Format: broker.FormatMQTT, Persistent: w.QoS > 0, TTL: expiryOf(w.Props), Received: t.Now,
	}
	if w.Retain {
		if err := retain(t, s.host, w.Topic, m, nil); err != nil {
			s.srv.opt.Logger.Warn("mqtt: will is not retained", "client", s.key.client, "error", err)
		}
	}
	if _, err := by.Publish(t, broker.Publish{Exchange: exchange, Msg: m}); err != nil {
		s.srv.opt.Logger.Warn("mqtt: will is not published", "client", s.key.client, "error", err)
	}
}

// expiryOf is the message expiry as the core's TTL.
func expiryOf(p wire.Properties) int64 {
	if v := p.Number(wire.MessageExpiry, 0); v > 0 {
		return int64(v) * 1000
	}
	return broker.NoTTL
}

// retain keeps m as the retained message of a topic, or removes the one there if
// m is empty [MQTT-3.3.1-5, -6]. Retained messages survive restarts whatever
// their QoS.
func retain(t *broker.Turn, host *broker.VHost, name string, m *broker.Message, done func(*broker.Turn)) error {
	if len(m.Body) == 0 {
		return host.SetRetained(t, name, nil, done)
	}
	kept := *m
	kept.Persistent = true
	return host.SetRetained(t, name, &kept, done)
}
