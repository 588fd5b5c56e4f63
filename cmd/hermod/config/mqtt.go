package config

// MQTTListener serves MQTT 3.1, 3.1.1 and 5.0.
type MQTTListener struct {
	Address       string `koanf:"address"`
	TLSAddress    string `koanf:"tls_address"`
	ProxyProtocol bool   `koanf:"proxy_protocol"` // every connection starts with a PROXY v1 or v2 header
}

// MQTT are the limits and habits of the MQTT listener.
type MQTT struct {
	VHost            string `koanf:"vhost"`              // of users that name none as vhost:user
	IgnoreColons     bool   `koanf:"ignore_colons"`      // colons in user names separate no vhost
	MaxPacketSize    Size   `koanf:"max_packet_size"`    //
	MaxKeepAlive     int    `koanf:"max_keepalive"`      // seconds; 0: none; MQTT 5 clients are told
	ReceiveMaximum   int    `koanf:"receive_maximum"`    // unacknowledged publishes of a client
	Inflight         int    `koanf:"inflight"`           // unacknowledged messages to a client
	TopicAliases     int    `koanf:"topic_aliases"`      // per connection and direction
	MaxSubscriptions int    `koanf:"max_subscriptions"`  // of a session
	QoS0Buffer       int    `koanf:"qos0_buffer"`        // messages that wait for a slow client at QoS 0
	SessionExpiryMax int64  `koanf:"session_expiry_max"` // seconds; 0: no bound
	V3SessionExpiry  int64  `koanf:"v3_session_expiry"`  // seconds, of MQTT 3 sessions; 0: never
	KeepRefused      bool   `koanf:"keep_refused"`       // acknowledge and drop what MQTT 3 clients may not publish
}

func (m *MQTT) checks() []check {
	return []check{
		{m.MaxPacketSize < 1024 || m.MaxPacketSize > 64<<20, "mqtt.max_packet_size: 1KiB to 64MiB"},
		{m.MaxKeepAlive < 0 || m.MaxKeepAlive > 65535, "mqtt.max_keepalive: 0 to 65535"},
		{m.ReceiveMaximum < 1 || m.ReceiveMaximum > 65535, "mqtt.receive_maximum: 1 to 65535"},
		{m.Inflight < 1 || m.Inflight > 65535, "mqtt.inflight: 1 to 65535"},
		{m.TopicAliases < 1 || m.TopicAliases > 65535, "mqtt.topic_aliases: 1 to 65535"},
		{m.MaxSubscriptions < 1, "mqtt.max_subscriptions: 1 or more"},
		{m.QoS0Buffer < 1, "mqtt.qos0_buffer: 1 or more"},
		{m.SessionExpiryMax < 0 || m.SessionExpiryMax > 1<<32-1, "mqtt.session_expiry_max: 0 to 4294967295"},
		{m.V3SessionExpiry < 0 || m.V3SessionExpiry > 1<<32-1, "mqtt.v3_session_expiry: 0 to 4294967295"},
	}
}
