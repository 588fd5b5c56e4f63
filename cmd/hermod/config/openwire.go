package config

import (
	"strconv"
	"strings"
	"time"
)

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
	Individual       []string `koanf:"individual_dead_letters"` // destinations, with wildcards, that have a dead letter queue each, whose name begins so
	Prioritized      []string `koanf:"prioritized"`             // queues, with wildcards, that deliver by JMSPriority when they are made over OpenWire
	FailIfNoSpace    []string `koanf:"fail_if_no_space"`        // destinations, with wildcards: refuse messages there is no room for instead of blocking their producers
	LastImage        []string `koanf:"last_image"`              // topics, with wildcards, whose last message retroactive consumers get
	Recovery         []string `koanf:"recovery"`                // topics, with wildcards, and after a colon how many of their last messages retroactive consumers get, or of what age (10, 30s)
	PendingLimits    []string `koanf:"pending_limits"`          // topics, with wildcards, and after a colon the messages that wait for a slow consumer beyond its prefetch
	UserIDs          bool     `koanf:"populate_user_id"`        // write the name of its user into every message, as JMSXUserID
	ConnectedBrokers []string `koanf:"connected_brokers"`       // URLs of other brokers that clients with failover: are told of
	Rebalance        bool     `koanf:"rebalance_clients"`       // and asked to spread over
	UpdateClients    bool     `koanf:"update_cluster_clients"`  // on a cluster: tell clients with failover: of the other nodes, unless connected_brokers does
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
		"openwire.individual_dead_letters":  []string{},
		"openwire.populate_user_id":         false,
		"openwire.pending_limits":           []string{},
		"openwire.prioritized":              []string{},
		"openwire.fail_if_no_space":         []string{},
		"openwire.last_image":               []string{},
		"openwire.recovery":                 []string{},
		"openwire.connected_brokers":        []string{},
		"openwire.rebalance_clients":        false,
		"openwire.update_cluster_clients":   true,
		"openwire.max_inactivity_duration":  30000,
		"openwire.broker_url":               "",
	}
}

func (c *Config) openwireChecks() []check {
	l := c.Listeners.OpenWire
	_, limits := c.OpenWire.Limits()
	_, recoveries := c.OpenWire.Recoveries()
	return []check{
		{!limits, "openwire.pending_limits: a topic, a colon and a number each"},
		{!recoveries, "openwire.recovery: a topic, a colon and a number or a duration each"},
		{l.TLSAddress != Off && (c.TLS.CertFile == "" || c.TLS.KeyFile == ""), "listeners.openwire.tls_address: needs tls.cert_file and tls.key_file"},
		{c.OpenWire.DefaultVHost == "", "openwire.default_vhost: must not be empty"},
		{c.OpenWire.DeadLetterQueue == "", "openwire.dead_letter_queue: must not be empty"},
		{c.OpenWire.MaxInactivity != 0 && c.OpenWire.MaxInactivity < 1000, "openwire.max_inactivity_duration: 0 or at least 1000"},
	}
}

// PendingLimit is one of OpenWire.PendingLimits.
type PendingLimit struct {
	Topic    string
	Messages int
}

// Limits reads PendingLimits.
func (o *OpenWire) Limits() (list []PendingLimit, ok bool) {
	for _, text := range o.PendingLimits {
		i := strings.LastIndexByte(text, ':')
		if i <= 0 {
			return nil, false
		}
		n, err := strconv.Atoi(text[i+1:])
		if err != nil || n < 1 {
			return nil, false
		}
		list = append(list, PendingLimit{text[:i], n})
	}
	return list, true
}

// Recovery is one of OpenWire.Recovery: so many messages, or those of an age.
type Recovery struct {
	Topic    string
	Messages int
	Age      time.Duration
}

// Recoveries reads Recovery and LastImage.
func (o *OpenWire) Recoveries() (list []Recovery, ok bool) {
	for _, text := range o.Recovery {
		i := strings.LastIndexByte(text, ':')
		if i <= 0 {
			return nil, false
		}
		r := Recovery{Topic: text[:i]}
		var err error
		if r.Messages, err = strconv.Atoi(text[i+1:]); err != nil {
			r.Age, err = time.ParseDuration(text[i+1:])
		}
		if err != nil || r.Messages < 0 || r.Age < 0 || r.Messages == 0 && r.Age == 0 {
			return nil, false
		}
		list = append(list, r)
	}
	for _, name := range o.LastImage {
		list = append(list, Recovery{Topic: name, Messages: 1})
	}
	return list, true
}
