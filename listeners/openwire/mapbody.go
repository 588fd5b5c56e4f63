package openwire

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

var _ broker.MapConverter = Converter{}

// Map implements broker.MapConverter: the entries of a map message.
func (Converter) Map(m *broker.Message) (fields broker.Table, isMap bool) {
	n, ok := viewOf(m)
	if !ok || n.kind != wire.TypeMapMessage {
		return nil, false
	}
	content := m.Body
	switch {
	case n.flags&nativeNull != 0:
		return nil, true
	case n.flags&nativeCompressed != 0:
		var err error
		if content, err = inflate(n.kind, content); err != nil {
			return nil, false
		}
	}
	entries, err := wire.ParseMap(content)
	if err != nil {
		return nil, false
	}
	fields, _ = valueOut(entries).(broker.Table)
	return fields, true
}

// mapIn are fields as the entries of a map message, in which every value may be
// of any type of JMS.
func mapIn(fields broker.Table) wire.Map {
	entries := make(wire.Map, len(fields))
	for i, f := range fields {
		entries[i] = wire.Entry{Name: f.Name, Value: f.Value}
		if _, bytes := f.Value.([]byte); !bytes { // which as a property would become a text
			entries[i].Value = valueIn(f.Value, 0)
		}
	}
	return entries
}
