package broker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
)

// The kinds of definitions the topology stores. Keys are sequences of strings
// with their lengths in front; values are JSON.
const (
	kindVHost           = "vhost"
	kindExchange        = "exchange"
	kindQueue           = "queue"
	kindBinding         = "binding"
	kindPolicy          = "policy"
	kindOperatorPolicy  = "operator_policy"
	kindUser            = "user"
	kindPermission      = "permission"
	kindTopicPermission = "topic_permission"
	kindParameter       = "parameter"
	kindLimit           = "limit"
	kindUserLimit       = "user_limit"
	kindDedup           = "dedup"
	kindPrepared        = "prepared"
)

// vhostKey joins the parts of a definition's key.
func vhostKey(parts ...string) string {
	var b []byte
	for _, p := range parts {
		b = appendString(b, p)
	}
	return string(b)
}

var errKey = errors.New("broker: malformed key of a definition")

// splitKey undoes vhostKey.
func splitKey(key string, n int) ([]string, error) {
	parts := make([]string, 0, n)
	for b := []byte(key); len(b) > 0; {
		size, used := binary.Uvarint(b)
		if used <= 0 || size > uint64(len(b)-used) {
			return nil, errKey
		}
		parts = append(parts, string(b[used:used+int(size)]))
		b = b[used+int(size):]
	}
	if len(parts) != n {
		return nil, errKey
	}
	return parts, nil
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("broker: definition cannot be encoded: " + err.Error())
	}
	return b
}

// exchangeValue is the stored form of an exchange.
type exchangeValue struct {
	Type       string      `json:"type"`
	AutoDelete bool        `json:"auto_delete,omitempty"`
	Internal   bool        `json:"internal,omitempty"`
	Args       []jsonField `json:"args,omitempty"`
}

func (x *Exchange) definition() []byte {
	return mustJSON(exchangeValue{x.kind, x.autoDelete, x.internal, tableJSON(x.args)})
}

// queueValue is the stored form of a queue. Lane is the first of its lanes.
type queueValue struct {
	AutoDelete bool        `json:"auto_delete,omitempty"`
	Lane       LaneID      `json:"lane"`
	Args       []jsonField `json:"args,omitempty"`

	DeadLetters string `json:"dead_letters,omitempty"`
}

func (m *queueMeta) definition() []byte {
	return mustJSON(queueValue{m.declared.AutoDelete, m.lane, tableJSON(m.args), m.declared.DeadLetterFallback})
}

// bindingValue is the stored form of a binding: the arguments, as the key has
// them in canonical form only.
type bindingValue struct {
	Args []jsonField `json:"args,omitempty"`
}

func (b *binding) definition() []byte { return mustJSON(bindingValue{tableJSON(b.args)}) }

func (b *binding) key(v *VHost) string {
	kind := "q"
	if b.id.toExchange {
		kind = "e"
	}
	return vhostKey(v.name, b.source.name, kind, b.id.dest, b.id.key, b.id.args)
}

// vhostValue is the stored form of a virtual host.
type vhostValue struct {
	Description      string   `json:"description,omitempty"`
	Tags             []string `json:"tags,omitempty"`
	DefaultQueueType string   `json:"default_queue_type,omitempty"`
}

// userValue is the stored form of a user.
type userValue struct {
	Algorithm string   `json:"hashing_algorithm"`
	Hash      string   `json:"password_hash"`
	Tags      []string `json:"tags"`
	Scram     string   `json:"scram,omitempty"`
}

// parameterKey names a runtime parameter; vhost is "" for global ones.
type parameterKey struct{ component, vhost, name string }
