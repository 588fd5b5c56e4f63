package config

// OpenWireListener serves OpenWire, the protocol of ActiveMQ's clients.
type OpenWireListener struct {
	Address       string `koanf:"address"`
	TLSAddress    string `koanf:"tls_address"`
	ProxyProtocol bool   `koanf:"proxy_protocol"` // every connection starts with a PROXY v1 or v2 header
}

// OpenWire configures what the OpenWire listeners have in common.
type OpenWire struct {
	DefaultVHost     string   `koanf:"default_vhost"`           // of clients whose user name does not begin with one and a colon
	DefaultUser      string   `koanf:"default_user"`            // logs in clients that give no user name; "" leaves them anonymous
	DefaultPassword  string   `koanf:"default_password"`        //
	DeadLetterQueue  string   `koanf:"dead_letter_queue"`       // where poisoned and expired messages go
	DeadLetters      string   `koanf:"dead_letters"`            // shared: all there; individual: a queue per destination, whose name begins so
	FailIfNoSpace    bool     `koanf:"fail_if_no_space"`        // refuse messages there is no room for instead of blocking their producers
	LastImage        []string `koanf:"last_image"`              // topics, with wildcards, whose last message retroactive consumers get
	ConnectedBrokers []string `koanf:"connected_brokers"`       // URLs of other brokers that clients with failover: are told of
	Rebalance        bool     `koanf:"rebalance_clients"`       // and asked to spread over
	MaxInactivity    int      `koanf:"max_inactivity_duration"` // ms after which silent clients are gone, offered to them; 0 is never
	BrokerURL        string   `koanf:"broker_url"`              // as clients are told; "" is none
}

// openwireDefaults are the defaults of the keys of OpenWire.
func openwireDefaults() map[string]any {
	return map[string]any{
		"listeners.openwire.address":        ":61616",
		"listeners.openwire.tls_address":    Off,
		"listeners.openwire.proxy_protocol": false,
		"openwire.default_vhost":            "/",
		"openwire.default_user":             "guest",
		"openwire.default_password":         "guest",
		"openwire.dead_letter_queue":        "ActiveMQ.DLQ",
		"openwire.dead_letters":             "shared",
		"openwire.fail_if_no_space":         false,
		"openwire.last_image":               []string{},
		"openwire.connected_brokers":        []string{},
		"openwire.rebalance_clients":        false,
		"openwire.max_inactivity_duration":  30000,
		"openwire.broker_url":               "",
	}
}

func (c *Config) openwireChecks() []check {
	l := c.Listeners.OpenWire
	return []check{
		{l.TLSAddress != Off && (c.TLS.CertFile == "" || c.TLS.KeyFile == ""), "listeners.openwire.tls_address: needs tls.cert_file and tls.key_file"},
		{c.OpenWire.DefaultVHost == "", "openwire.default_vhost: must not be empty"},
		{c.OpenWire.DeadLetterQueue == "", "openwire.dead_letter_queue: must not be empty"},
		{!oneOf(c.OpenWire.DeadLetters, "shared", "individual"), "openwire.dead_letters: shared or individual"},
		{c.OpenWire.MaxInactivity != 0 && c.OpenWire.MaxInactivity < 1000, "openwire.max_inactivity_duration: 0 or at least 1000"},
	}
}
