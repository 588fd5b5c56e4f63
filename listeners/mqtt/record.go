package mqtt

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// The facts of the listener. Keys are the virtual host, a zero byte and the
// client id, or, if that is long, another zero byte and
// its digest; for packet identifiers a zero byte and two more bytes follow.
var (
	kindSession  = broker.FactKind("mqtt.session")
	kindReceived = broker.FactKind("mqtt.received") // QoS 2 messages received whose PUBREL is outstanding
	kindSent     = broker.FactKind("mqtt.sent")     // QoS 2 messages sent whose PUBCOMP is outstanding
	kindGroup    = broker.FactKind("mqtt.group")    // queues of shared subscriptions
)

// record is a durable session in the store.
type record struct {
	Client string      `json:"client,omitempty"` // the client id if the key has its digest
	Expiry uint32      `json:"expiry"`           // seconds
	Ended  int64       `json:"ended,omitempty"`  // Unix ms of the disconnect; 0 while connected
	Subs   []subRecord `json:"subs,omitempty"`   //
	Will   *willRecord `json:"will,omitempty"`   // of the connection, or what is left of it
	WillAt int64       `json:"willAt,omitempty"` // Unix ms at which it is due; 0: not counting yet
}

type subRecord struct {
	Filter  string `json:"f"`
	Options byte   `json:"o,omitempty"`
	ID      uint32 `json:"id,omitempty"`
}

type willRecord struct {
	Topic   string `json:"topic"`
	Payload []byte `json:"payload,omitempty"`
	QoS     byte   `json:"qos,omitempty"`
	Retain  bool   `json:"retain,omitempty"`
	Props   []byte `json:"props,omitempty"`
}

func (s *session) factKey() string {
	if s.long() {
		sum := sha256.Sum256([]byte(s.key.client))
		return s.key.vhost + "\x00\x00" + hex.EncodeToString(sum[:])
	}
	return s.key.vhost + "\x00" + s.key.client
}

// long says that the client id is longer than the keys of the store leave room
// for.
func (s *session) long() bool { return len(s.key.client) > maxKeyedID }

const maxKeyedID = 65000

func (s *session) pidKey(pid uint16) string {
	return s.factKey() + "\x00" + string([]byte{byte(pid >> 8), byte(pid)})
}

func splitPidKey(key string) (k sessionKey, pid uint16, ok bool) {
	if len(key) < 4 || key[len(key)-3] != 0 {
		return k, 0, false
	}
	k.vhost, k.client, ok = strings.Cut(key[:len(key)-3], "\x00")
	return k, binary.BigEndian.Uint16([]byte(key[len(key)-2:])), ok
}

// fact is the session as it has to be in the store now.
func (s *session) fact() broker.Definition {
	r := record{Expiry: s.expiry, Ended: s.ended, WillAt: s.willAt}
	if s.long() {
		r.Client = s.key.client
	}
	for _, sub := range s.list {
		r.Subs = append(r.Subs, subRecord{sub.filter, byte(sub.options), sub.id})
	}
	if w := s.will; w != nil {
		r.Will = &willRecord{w.Topic, w.Payload, w.QoS, w.Retain, w.Props}
	}
	value, err := json.Marshal(r)
	if err != nil {
		value = nil
	}
	return broker.Definition{Kind: kindSession, Key: s.factKey(), Value: value}
}

// save stores the session if it is durable. done may be nil; it runs at once for
// sessions that are not.
func (s *session) save(t *broker.Turn, done func(*broker.Turn)) {
	if s.durable {
		s.srv.broker.StoreFacts([]broker.Definition{s.fact()}, done)
	} else if done != nil {
		done(t)
	}
}

// sentState is the value of a fact of kindSent.
const (
	sentPublish = 1 // PUBLISH may have left
	sentRelease = 2 // PUBREC came: PUBREL is due
)

func (s *session) sentFact(pid uint16, state byte, seq uint64) broker.Definition {
	return broker.Definition{Kind: kindSent, Key: s.pidKey(pid), Value: binary.AppendUvarint([]byte{state}, seq)}
}

func (s *session) sentGone(pid uint16) broker.Definition {
	return broker.Definition{Kind: kindSent, Key: s.pidKey(pid), Delete: true}
}

func (s *session) receivedFact(pid uint16) broker.Definition {
	return broker.Definition{Kind: kindReceived, Key: s.pidKey(pid)}
}

func (s *session) receivedGone(pid uint16) broker.Definition {
	return broker.Definition{Kind: kindReceived, Key: s.pidKey(pid), Delete: true}
}

// Recover takes over the sessions that the store kept. It is called once, after
// the broker has recovered and before the first client.
func (v *Server) Recover(t *broker.Turn) error {
	var lost []broker.Definition
	v.digested = make(map[sessionKey]*session)
	drop := func(d broker.Definition) {
		lost = append(lost, broker.Definition{Kind: d.Kind, Key: d.Key, Delete: true})
	}
	for _, d := range v.broker.TakeFacts(kindSession) {
		if !v.recoverSession(t, d) {
			drop(d)
		}
	}
	for _, d := range v.broker.TakeFacts(kindReceived) {
		if s, pid := v.sessionOf(d); s != nil {
			s.noteReceived(pid)
		} else {
			drop(d)
		}
	}
	for _, d := range v.broker.TakeFacts(kindSent) {
		if s, pid := v.sessionOf(d); s == nil || !s.recoverSent(pid, d.Value) {
			drop(d)
		}
	}
	for _, d := range v.broker.TakeFacts(kindGroup) {
		v.recoverGroup(t, d, drop)
	}
	v.digested = nil
	v.broker.StoreFacts(lost, nil)
	return nil
}

func (v *Server) sessionOf(d broker.Definition) (*session, uint16) {
	key, pid, ok := splitPidKey(d.Key)
	if !ok {
		return nil, 0
	}
	if s := v.digested[key]; s != nil {
		return s, pid
	}
	return v.sessions[key], pid
}

func (v *Server) recoverSession(t *broker.Turn, d broker.Definition) bool {
	var key sessionKey
	var ok bool
	var r record
	key.vhost, key.client, ok = strings.Cut(d.Key, "\x00")
	host := v.broker.VHost(key.vhost)
	if !ok || host == nil || json.Unmarshal(d.Value, &r) != nil {
		return false
	}
	stored := key
	if r.Client != "" {
		key.client = r.Client
	}
	s := v.newSession(key, host)
	if s.factKey() != d.Key {
		return false
	}
	if s.long() {
		v.digested[stored] = s
	}
	s.present, s.durable, s.expiry, s.ended = true, true, r.Expiry, r.Ended
	if w := r.Will; w != nil {
		s.will = &wire.Will{Topic: w.Topic, Payload: w.Payload, QoS: w.QoS, Retain: w.Retain, Props: w.Props}
	}
	s.willAt = r.WillAt
	if s.ended == 0 { // connected when the process ended
		s.ended = t.Now
		s.scheduleWill(t.Now)
	}
	for _, sr := range r.Subs {
		s.restore(sr)
	}
	v.sessions[key] = s
	v.schedule(s)
	return true
}

func (s *session) recoverSent(pid uint16, value []byte) bool {
	if len(value) < 2 || pid == 0 {
		return false
	}
	seq, n := binary.Uvarint(value[1:])
	if n <= 0 {
		return false
	}
	o := &outgoing{pid: pid, qos: 2, stored: true, state: released}
	if value[0] == sentPublish {
		o.state = expected
		if s.expected == nil {
			s.expected = make(map[uint64]*outgoing)
		}
		s.expected[seq] = o
	}
	s.out.add(o)
	return true
}
