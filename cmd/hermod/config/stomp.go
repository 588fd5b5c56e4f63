package config

// STOMPListener serves STOMP 1.0, 1.1 and 1.2.
type STOMPListener struct {
	Address       string   `koanf:"address"`
	TLSAddress    string   `koanf:"tls_address"`
	ProxyProtocol bool     `koanf:"proxy_protocol"`        // every connection starts with a PROXY v1 or v2 header
	WebSocket     string   `koanf:"websocket_address"`     // STOMP over WebSocket, at the paths /ws and /stomp
	WebSocketTLS  string   `koanf:"websocket_tls_address"` // the same over TLS
	Origins       []string `koanf:"websocket_origins"`     // web origins whose pages may connect besides the server's own; * for all
	Dialect       string   `koanf:"dialect"`               // rabbitmq or activemq
	TLSDialect    string   `koanf:"tls_dialect"`           // of the TLS listener; "" is that of the other
}

// STOMP configures what the STOMP listeners have in common.
type STOMP struct {
	DefaultVHost      string `koanf:"default_vhost"`       // for clients that send no host header
	UnknownHost       string `koanf:"unknown_host"`        // a host header that names no virtual host: refuse, ignore, or dialect (as there)
	MaxHeaders        int    `koanf:"max_headers"`         // header lines of a frame
	MaxHeaderLine     Size   `koanf:"max_header_line"`     // bytes of one
	MaxHeaderBytes    Size   `koanf:"max_header_bytes"`    // bytes of all of a frame
	ContentTypeBinary bool   `koanf:"content_type_binary"` // a textual content-type does not make the body a text for JMS
	DeadLetterQueue   string `koanf:"dead_letter_queue"`   // where NACK of the activemq dialect sends messages
}

// stompDefaults are the defaults of the keys of STOMP.
func stompDefaults() map[string]any {
	return map[string]any{
		"listeners.stomp.address":               ":61613",
		"listeners.stomp.tls_address":           Off,
		"listeners.stomp.websocket_address":     ":15674",
		"listeners.stomp.websocket_tls_address": Off,
		"listeners.stomp.websocket_origins":     []string{},
		"listeners.stomp.proxy_protocol":        false,
		"listeners.stomp.dialect":               "rabbitmq",
		"listeners.stomp.tls_dialect":           "",
		"stomp.default_vhost":                   "/",
		"stomp.unknown_host":                    "dialect",
		"stomp.max_headers":                     1000,
		"stomp.max_header_line":                 "32KiB",
		"stomp.max_header_bytes":                "128KiB",
		"stomp.content_type_binary":             false,
		"stomp.dead_letter_queue":               "ActiveMQ.DLQ",
	}
}

func (c *Config) stompChecks() []check {
	return []check{
		{!oneOf(c.Listeners.STOMP.Dialect, "rabbitmq", "activemq"), "listeners.stomp.dialect: rabbitmq or activemq"},
		{!oneOf(c.Listeners.STOMP.TLSDialect, "", "rabbitmq", "activemq"), "listeners.stomp.tls_dialect: rabbitmq or activemq"},
		{c.Listeners.STOMP.TLSAddress != Off && (c.TLS.CertFile == "" || c.TLS.KeyFile == ""),
			"listeners.stomp.tls_address: needs tls.cert_file and tls.key_file"},
		{c.Listeners.STOMP.WebSocketTLS != Off && (c.TLS.CertFile == "" || c.TLS.KeyFile == ""),
			"listeners.stomp.websocket_tls_address: needs tls.cert_file and tls.key_file"},
		{!oneOf(c.STOMP.UnknownHost, "dialect", "refuse", "ignore"), "stomp.unknown_host: dialect, refuse or ignore"},
		{c.STOMP.DefaultVHost == "", "stomp.default_vhost: must not be empty"},
		{c.STOMP.MaxHeaders < 10 || c.STOMP.MaxHeaders > 10000, "stomp.max_headers: 10 to 10000"},
		{c.STOMP.MaxHeaderLine < 256 || c.STOMP.MaxHeaderLine > 1<<20, "stomp.max_header_line: 256B to 1MiB"},
		{c.STOMP.MaxHeaderBytes < c.STOMP.MaxHeaderLine || c.STOMP.MaxHeaderBytes > 4<<20, "stomp.max_header_bytes: stomp.max_header_line to 4MiB"},
		{c.STOMP.DeadLetterQueue == "", "stomp.dead_letter_queue: must not be empty"},
	}
}
