package wire

// PublishView is a basic.publish whose texts alias the payload, for the path
// every message takes. Copy what must outlive the payload.
type PublishView struct {
	Exchange   []byte
	RoutingKey []byte
	Mandatory  bool
	Immediate  bool
}

// Decode reads a method payload; it allocates nothing unless it fails.
func (v *PublishView) Decode(payload []byte) error {
	r := reader{b: payload}
	r.id(IDBasicPublish)
	r.short() // reserved-1
	v.Exchange = r.shortstrView()
	v.RoutingKey = r.shortstrView()
	bits := r.octet()
	v.Mandatory = bits&1 != 0
	v.Immediate = bits&2 != 0
	return r.end(IDBasicPublish)
}

// DeliverView is a basic.deliver whose texts alias the payload, for clients.
type DeliverView struct {
	ConsumerTag []byte
	DeliveryTag uint64
	Redelivered bool
	Exchange    []byte
	RoutingKey  []byte
}

// Decode reads a method payload; it allocates nothing unless it fails.
func (v *DeliverView) Decode(payload []byte) error {
	r := reader{b: payload}
	r.id(IDBasicDeliver)
	v.ConsumerTag = r.shortstrView()
	v.DeliveryTag = r.longlong()
	v.Redelivered = r.octet()&1 != 0
	v.Exchange = r.shortstrView()
	v.RoutingKey = r.shortstrView()
	return r.end(IDBasicDeliver)
}
