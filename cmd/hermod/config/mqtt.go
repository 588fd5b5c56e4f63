package config

import (
	"regexp"
	"slices"
	"strings"
)

func badPattern(s string) bool {
	_, err := regexp.Compile(s)
	return err != nil
}

// badPair says that s is not NAME=VHOST.
func badPair(s string) bool {
	i := strings.LastIndex(s, "=")
	return i < 1 || i == len(s)-1
}

// Pairs are a list of NAME=VALUE as a map; names may contain equals signs.
func Pairs(list []string) map[string]string {
	m := make(map[string]string, len(list))
	for _, s := range list {
		if i := strings.LastIndex(s, "="); i > 0 {
			m[s[:i]] = s[i+1:]
		}
	}
	return m
}

// MQTTListener serves MQTT 3.1, 3.1.1 and 5.0.
type MQTTListener struct {
	Address       string `koanf:"address"`
	TLSAddress    string `koanf:"tls_address"`
	ProxyProtocol bool   `koanf:"proxy_protocol"` // every connection starts with a PROXY v1 or v2 header

	WebSocket    string   `koanf:"websocket_address"`     // MQTT over WebSocket, at the paths /mqtt and /ws
	WebSocketTLS string   `koanf:"websocket_tls_address"` // the same over TLS
	Origins      []string `koanf:"websocket_origins"`     // web origins whose pages may connect besides the server's own; * for all
}

// MQTT are the limits and habits of the MQTT listener.
type MQTT struct {
	VHost          string   `koanf:"vhost"`              // of users that name none as vhost:user
	ListenerVHosts []string `koanf:"listener_vhosts"`    // NAME=VHOST or PORT=VHOST, by the listener
	CertVHosts     []string `koanf:"certificate_vhosts"` // NAME=VHOST, by the client certificate

	CertClientID bool `koanf:"certificate_client_id"` // the name in a client certificate is the client identifier

	IgnoreColons     bool  `koanf:"ignore_colons"`      // colons in user names separate no vhost
	MaxPacketSize    Size  `koanf:"max_packet_size"`    //
	MaxKeepAlive     int   `koanf:"max_keepalive"`      // seconds; 0: none; MQTT 5 clients are told
	ReceiveMaximum   int   `koanf:"receive_maximum"`    // unacknowledged publishes of a client
	Inflight         int   `koanf:"inflight"`           // unacknowledged messages to a client
	TopicAliases     int   `koanf:"topic_aliases"`      // per connection and direction
	MaxSubscriptions int   `koanf:"max_subscriptions"`  // of a session
	QoS0Buffer       int   `koanf:"qos0_buffer"`        // messages that wait for a slow client at QoS 0
	SessionExpiryMax int64 `koanf:"session_expiry_max"` // seconds; 0: no bound
	V3SessionExpiry  int64 `koanf:"v3_session_expiry"`  // seconds, of MQTT 3 sessions; 0: never
	KeepRefused      bool  `koanf:"keep_refused"`       // acknowledge and drop what MQTT 3 clients may not publish

	ConnectTimeout int `koanf:"connect_timeout"`  // seconds from accept to the end of the login
	MaxConnectTime int `koanf:"max_connect_time"` // seconds a connection may last; 0: for ever
	ConnectRate    int `koanf:"connect_rate"`     // connections per second; 0: no bound
	TakeoverRate   int `koanf:"takeover_rate"`    // how often per second a session may change hands; 0: no bound
	PacketTimeout  int `koanf:"packet_timeout"`   // seconds for the rest of a packet that has begun, besides what its length takes
	PublishRate    int `koanf:"publish_rate"`     // messages a client may publish per second; 0: no bound
	MaxLevels      int `koanf:"max_levels"`       // of a topic or filter

	MaxQueued        int64  `koanf:"max_queued"`         // messages of QoS 1 and 2 that wait for a session; 0: no bound
	MaxQueuedBytes   Size   `koanf:"max_queued_bytes"`   // and their bodies; 0: no bound
	QueueOverflow    string `koanf:"queue_overflow"`     // reject-publish: refuse what is beyond; drop-head: drop the oldest
	MaxRetained      int    `koanf:"max_retained"`       // retained messages of a virtual host
	MaxRetainedBytes Size   `koanf:"max_retained_bytes"` // and the bytes they take

	MaxQoS          int  `koanf:"max_qos"`              // highest QoS
	Retain          bool `koanf:"retain"`               // retained messages are offered,
	Wildcards       bool `koanf:"wildcards"`            // and so are wildcard filters,
	Shared          bool `koanf:"shared_subscriptions"` // shared subscriptions,
	SubscriptionIDs bool `koanf:"subscription_ids"`     // subscription identifiers
	CheckPayload    bool `koanf:"check_payload_format"` // refuse payloads that claim to be UTF-8 and are not

	BannedClients   []string `koanf:"banned_clients"`       // expressions; clients whose whole identifier matches one are refused
	ResponseInfo    string   `koanf:"response_information"` // told to clients that ask; {client_id} stands for theirs; empty: none
	ServerReference string   `koanf:"server_reference"`     // where clients are sent when the server shuts down
	ServerMoved     bool     `koanf:"server_moved"`         // refuse all clients and send them there for good
	Overlapping     string   `koanf:"overlapping"`          // subscriptions that match one message. once: one message; each: one for each
	AuthMethods     []string `koanf:"auth_methods"`         // methods of enhanced authentication: SCRAM-SHA-256
	SharedStrategy  string   `koanf:"shared_strategy"`      // round_robin, sticky, random, hash_client, hash_topic: who of a group gets a message
	SysInterval     int      `koanf:"sys_interval"`         // seconds between updates of $SYS topics; 0: there are none
}

func mqttDefaults() map[string]any {
	return map[string]any{
		"mqtt.vhost":                 "/",
		"mqtt.ignore_colons":         false,
		"mqtt.max_packet_size":       "16MiB",
		"mqtt.max_keepalive":         0,
		"mqtt.receive_maximum":       65535,
		"mqtt.inflight":              2048,
		"mqtt.topic_aliases":         64,
		"mqtt.max_subscriptions":     10000,
		"mqtt.qos0_buffer":           1000,
		"mqtt.session_expiry_max":    0,
		"mqtt.v3_session_expiry":     0,
		"mqtt.keep_refused":          false,
		"mqtt.connect_timeout":       30,
		"mqtt.max_connect_time":      0,
		"mqtt.connect_rate":          0,
		"mqtt.publish_rate":          0,
		"mqtt.takeover_rate":         20,
		"mqtt.packet_timeout":        60,
		"mqtt.listener_vhosts":       []string{},
		"mqtt.certificate_vhosts":    []string{},
		"mqtt.certificate_client_id": false,
		"mqtt.server_moved":          false,
		"mqtt.overlapping":           "once",
		"mqtt.max_levels":            128,
		"mqtt.max_queued":            1_000_000,
		"mqtt.max_queued_bytes":      "1GiB",
		"mqtt.queue_overflow":        "reject-publish",
		"mqtt.max_retained":          5_000_000,
		"mqtt.max_retained_bytes":    "1GiB",
		"mqtt.max_qos":               2,
		"mqtt.retain":                true,
		"mqtt.wildcards":             true,
		"mqtt.shared_subscriptions":  true,
		"mqtt.subscription_ids":      true,
		"mqtt.check_payload_format":  false,
		"mqtt.banned_clients":        []string{},
		"mqtt.response_information":  "response/{client_id}",
		"mqtt.server_reference":      "",
		"mqtt.auth_methods":          []string{"SCRAM-SHA-256"},
		"mqtt.shared_strategy":       "round_robin",
		"mqtt.sys_interval":          0,
	}
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
		{m.ConnectTimeout < 1, "mqtt.connect_timeout: 1 or more"},
		{m.MaxConnectTime < 0 || m.ConnectRate < 0 || m.PublishRate < 0 || m.SysInterval < 0,
			"mqtt.max_connect_time, connect_rate, publish_rate, sys_interval: not negative"},
		{m.TakeoverRate < 0 || m.PacketTimeout < 1, "mqtt.takeover_rate: not negative; mqtt.packet_timeout: 1 or more"},
		{m.ServerMoved && m.ServerReference == "", "mqtt.server_moved: needs mqtt.server_reference"},
		{m.Overlapping != "once" && m.Overlapping != "each", "mqtt.overlapping: once or each"},
		{m.Overlapping == "each" && m.MaxSubscriptions > 65535, "mqtt.max_subscriptions: at most 65535 with mqtt.overlapping each"},
		{slices.ContainsFunc(m.ListenerVHosts, badPair) || slices.ContainsFunc(m.CertVHosts, badPair),
			"mqtt.listener_vhosts, certificate_vhosts: NAME=VHOST"},
		{m.MaxLevels < 1 || m.MaxLevels > 65535, "mqtt.max_levels: 1 to 65535"},
		{m.MaxQueued < 0 || m.MaxQueuedBytes < 0, "mqtt.max_queued, max_queued_bytes: not negative"},
		{m.QueueOverflow != "reject-publish" && m.QueueOverflow != "drop-head", "mqtt.queue_overflow: reject-publish or drop-head"},
		{m.MaxRetained < 1 || m.MaxRetainedBytes < 1, "mqtt.max_retained, max_retained_bytes: 1 or more"},
		{!slices.Contains([]string{"round_robin", "sticky", "random", "hash_client", "hash_topic"}, m.SharedStrategy),
			"mqtt.shared_strategy: round_robin, sticky, random, hash_client or hash_topic"},
		{m.MaxQoS < 0 || m.MaxQoS > 2, "mqtt.max_qos: 0, 1 or 2"},
		{slices.ContainsFunc(m.BannedClients, badPattern), "mqtt.banned_clients: regular expressions"},
		{slices.ContainsFunc(m.AuthMethods, func(s string) bool { return s != "SCRAM-SHA-256" }), "mqtt.auth_methods: SCRAM-SHA-256"},
		{m.V3SessionExpiry < 0 || m.V3SessionExpiry > 1<<32-1, "mqtt.v3_session_expiry: 0 to 4294967295"},
	}
}
