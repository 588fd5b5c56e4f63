// Package config composes Hermod's configuration from, in rising order of
// precedence, the defaults, a YAML file, the environment and --set flags. It is
// the only reader of any of them; every other package gets its own Options.
package config

import (
	"fmt"
	"maps"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
)

// Off is the address that switches a listener off; On and Off switch what is
// otherwise named.
const (
	Off = "off"
	On  = "on"
)

// maxFile bounds a configuration file; nobody writes a larger one by hand.
const maxFile = 4 << 20

// Config is the whole configuration. Keys are the koanf tags joined by dots,
// for example listeners.amqp.tls_address.
type Config struct {
	Node        Node        `koanf:"node"`
	DataDir     string      `koanf:"data_dir"` // folder of everything that is kept; default ./data
	Listeners   Listeners   `koanf:"listeners"`
	TLS         TLS         `koanf:"tls"`
	Auth        Auth        `koanf:"auth"`
	Limits      Limits      `koanf:"limits"`
	Persistence Persistence `koanf:"persistence"`
	Definitions Definitions `koanf:"definitions"`
	AMQP        AMQP        `koanf:"amqp"`
	MQTT        MQTT        `koanf:"mqtt"`
	STOMP       STOMP       `koanf:"stomp"`
	OpenWire    OpenWire    `koanf:"openwire"`
	AWS         AWS         `koanf:"aws"`
	HA          HA          `koanf:"ha"`
	Log         Log         `koanf:"log"`
}

// Node names this process.
type Node struct {
	Name        string        `koanf:"name"`         // shown to clients as cluster_name and in listings; each node of a cluster has its own
	ClockOffset time.Duration `koanf:"clock_offset"` // added to the wall clock, for tests of clocks that differ
}

// Listeners are the sockets. Each address is host:port, :port or "off".
type Listeners struct {
	AMQP     AMQPListener     `koanf:"amqp"`
	MQTT     MQTTListener     `koanf:"mqtt"`
	STOMP    STOMPListener    `koanf:"stomp"`
	OpenWire OpenWireListener `koanf:"openwire"`
	AWS      AWSListener      `koanf:"aws"`
	Metrics  MetricsListener  `koanf:"metrics"`

	Loops int `koanf:"loops"` // event loops of all listeners; 0: one per CPU but one

	ProxyTrusted []string `koanf:"proxy_trusted"` // networks (CIDR) of those who may send PROXY headers; empty: all
}

// AMQPListener serves AMQP 0-9-1.
type AMQPListener struct {
	Address       string `koanf:"address"`
	TLSAddress    string `koanf:"tls_address"`
	ProxyProtocol bool   `koanf:"proxy_protocol"` // every connection starts with a PROXY v1 or v2 header
}

// MetricsListener serves Prometheus metrics and health over HTTP.
type MetricsListener struct {
	Address    string `koanf:"address"`
	TLSAddress string `koanf:"tls_address"`
	Pprof      bool   `koanf:"pprof"` // also profiles, to whoever can connect
}

// TLS names the PEM files of every TLS listener. They are read again when they
// change, without dropping connections.
type TLS struct {
	CertFile   string `koanf:"cert_file"`
	KeyFile    string `koanf:"key_file"`
	CAFile     string `koanf:"ca_file"`     // who signs client certificates
	ClientAuth string `koanf:"client_auth"` // none, request, require
	ClientName string `koanf:"client_name"` // what of a client certificate names its user: common_name, distinguished_name, dns, email, uri

	CheckInterval time.Duration `koanf:"check_interval"` // how often the files are looked at, at most; 0: at SIGHUP only
}

// Auth says who may come in.
type Auth struct {
	DefaultUser     string   `koanf:"default_user"`     // created in an empty data folder only
	DefaultPassword string   `koanf:"default_password"` //
	LoopbackUsers   []string `koanf:"loopback_users"`   // users that may log in from this machine only
	Anonymous       string   `koanf:"anonymous"`        // "off", "on" (the default user), or the user that ANONYMOUS logs in as
}

// Limits bound what clients can ask for.
type Limits struct {
	MaxMessageSize Size   `koanf:"max_message_size"` // body bytes; at most 32MiB
	MaxConnections int    `koanf:"max_connections"`  // 0: as many as the file limit leaves
	Memory         Memory `koanf:"memory"`           // bytes or percent of the machine; publishers are blocked above it
	DiskFree       Size   `koanf:"disk_free"`        // publishers are blocked when less is free
}

// Persistence configures the store.
type Persistence struct {
	Confirm           string `koanf:"confirm"` // fsync: receipts wait for the disk; os: for the kernel
	SegmentSize       Size   `koanf:"segment_size"`
	EncryptionKeyFile string `koanf:"encryption_key_file"` // 32 bytes, raw, hex or base64; "" = not encrypted
}

// Definitions are loaded at start.
type Definitions struct {
	Import string `koanf:"import"` // a RabbitMQ definitions.json
}

// AMQP tells clients what they talk to.
type AMQP struct {
	Product    string `koanf:"product"`     // clients sniff it
	Version    string `koanf:"version"`     // clients sniff it
	ChannelMax int    `koanf:"channel_max"` // 1..65535
	FrameMax   int    `koanf:"frame_max"`   // bytes, at least 4096
	Heartbeat  int    `koanf:"heartbeat"`   // seconds, 0 = off
}

// Log configures logging to standard error.
type Log struct {
	Level  string `koanf:"level"`  // debug, info, warn, error
	Format string `koanf:"format"` // text, json
}

// defaults holds every key there is: a key that is not here does not exist.
func defaults() map[string]any {
	all := map[string]any{
		"node.name":                            "hermod-1",
		"data_dir":                             "./data",
		"listeners.amqp.address":               ":5672",
		"listeners.amqp.tls_address":           Off,
		"listeners.amqp.proxy_protocol":        false,
		"listeners.mqtt.address":               ":1883",
		"listeners.mqtt.tls_address":           Off,
		"listeners.mqtt.proxy_protocol":        false,
		"listeners.mqtt.websocket_address":     ":15675",
		"listeners.mqtt.websocket_tls_address": Off,
		"listeners.mqtt.websocket_origins":     []string{},
		"listeners.metrics.address":            ":15692",
		"listeners.metrics.tls_address":        Off,
		"listeners.metrics.pprof":              false,
		"listeners.loops":                      0,
		"listeners.proxy_trusted":              []string{},
		"tls.cert_file":                        "",
		"tls.key_file":                         "",
		"tls.ca_file":                          "",
		"tls.client_auth":                      "none",
		"tls.client_name":                      "common_name",
		"tls.check_interval":                   "10s",
		"auth.default_user":                    "guest",
		"auth.default_password":                "guest",
		"auth.loopback_users":                  []string{"guest"},
		"auth.anonymous":                       Off,
		"limits.max_message_size":              "16MiB",
		"limits.max_connections":               0,
		"limits.memory":                        "60%",
		"limits.disk_free":                     "1GiB",
		"persistence.confirm":                  "fsync",
		"persistence.segment_size":             "64MiB",
		"persistence.encryption_key_file":      "",
		"definitions.import":                   "",
		"amqp.product":                         "RabbitMQ",
		"amqp.version":                         "3.13.7",
		"amqp.channel_max":                     2047,
		"amqp.frame_max":                       131072,
		"amqp.heartbeat":                       60,
		"log.level":                            "info",
		"log.format":                           "text",
	}
	maps.Copy(all, mqttDefaults())
	maps.Copy(all, stompDefaults())
	maps.Copy(all, openwireDefaults())
	maps.Copy(all, awsDefaults())
	maps.Copy(all, haDefaults())
	maps.Copy(all, snsDefaults())
	return all
}

// Source says where configuration comes from besides the defaults.
type Source struct {
	File    string              // path of a YAML file; "" for none
	Environ func(string) string // os.Getenv
	Set     []string            // key=value
	DataDir string              // --data-dir, strongest of all; "" if not given
}

// Load reads, merges, decodes and validates.
func Load(src Source) (*Config, error) {
	base := defaults()
	k := koanf.New(".")
	if err := k.Load(confmap.Provider(base, "."), nil); err != nil {
		return nil, err
	}
	if err := loadFile(k, base, src.File); err != nil {
		return nil, err
	}
	over, err := overrides(base, src)
	if err != nil {
		return nil, err
	}
	if err := k.Load(confmap.Provider(over, "."), nil); err != nil {
		return nil, err
	}
	c := &Config{}
	err = k.UnmarshalWithConf("", c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result: c, TagName: "koanf", WeaklyTypedInput: true, ErrorUnused: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			mapstructure.TextUnmarshallerHookFunc(), mapstructure.StringToTimeDurationHookFunc(), mapstructure.StringToSliceHookFunc(",")),
	}})
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return c, c.validate()
}

func loadFile(k *koanf.Koanf, base map[string]any, name string) error {
	if name == "" {
		return nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.Size() > maxFile {
		return fmt.Errorf("%s: %d bytes, more than the %d a configuration file may have", name, info.Size(), maxFile)
	}
	f := koanf.New(".")
	if err := f.Load(file.Provider(name), yaml.Parser()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, key := range f.Keys() {
		if _, ok := base[key]; !ok {
			return fmt.Errorf("%s: no such key %q", name, key)
		}
	}
	return k.Merge(f)
}

// overrides collects environment and flags. Environment names are the keys in
// capitals with dots as underscores, behind HERMOD_.
func overrides(base map[string]any, src Source) (map[string]any, error) {
	over := map[string]any{}
	if src.Environ != nil {
		for key := range base {
			if v := src.Environ(EnvName(key)); v != "" {
				over[key] = v
			}
		}
	}
	for _, kv := range src.Set {
		key, value, ok := strings.Cut(kv, "=")
		if !ok {
			return nil, fmt.Errorf("--set %s: want key=value", kv)
		}
		if _, known := base[key]; !known {
			return nil, fmt.Errorf("--set %s: no such key", key)
		}
		over[key] = value
	}
	if src.DataDir != "" {
		over["data_dir"] = src.DataDir
	}
	return over, nil
}

// EnvName is the environment variable that sets key.
func EnvName(key string) string {
	return "HERMOD_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// Keys lists every key in alphabetical order with its default.
func Keys() []string {
	var list []string
	for key, v := range defaults() {
		list = append(list, fmt.Sprintf("%s=%v", key, v))
	}
	sort.Strings(list)
	return list
}

// check is one rule: text says what a value must be when it is bad.
type check struct {
	bad  bool
	text string
}

func (c *Config) validate() error {
	checks := []check{
		{c.Node.Name == "" || len(c.Node.Name) > 128, "node.name: 1 to 128 bytes"},
		{c.DataDir == "", "data_dir: must not be empty"},
		{c.Persistence.Confirm != "fsync" && c.Persistence.Confirm != "os", "persistence.confirm: fsync or os"},
		{c.Persistence.SegmentSize < 1<<20 || c.Persistence.SegmentSize > 1<<30, "persistence.segment_size: 1MiB to 1GiB"},
		{c.Limits.MaxMessageSize < 1 || c.Limits.MaxMessageSize > 32<<20, "limits.max_message_size: 1B to 32MiB"},
		{c.Limits.MaxConnections < 0, "limits.max_connections: 0 or more"},
		{c.Listeners.Loops < 0 || c.Listeners.Loops > 1024, "listeners.loops: 0 to 1024"},
		{c.AMQP.ChannelMax < 1 || c.AMQP.ChannelMax > 65535, "amqp.channel_max: 1 to 65535"},
		{c.AMQP.FrameMax < 4096 || c.AMQP.FrameMax > 16<<20, "amqp.frame_max: 4096 to 16777216"},
		{c.AMQP.Heartbeat < 0 || c.AMQP.Heartbeat > 65535, "amqp.heartbeat: 0 to 65535"},
		{c.Listeners.MQTT.TLSAddress != Off && (c.TLS.CertFile == "" || c.TLS.KeyFile == ""),
			"listeners.mqtt.tls_address: needs tls.cert_file and tls.key_file"},
		{c.Listeners.MQTT.WebSocketTLS != Off && (c.TLS.CertFile == "" || c.TLS.KeyFile == ""),
			"listeners.mqtt.websocket_tls_address: needs tls.cert_file and tls.key_file"},
		{!oneOf(c.TLS.ClientName, "common_name", "distinguished_name", "dns", "email", "uri"),
			"tls.client_name: common_name, distinguished_name, dns, email or uri"},
		{!oneOf(c.TLS.ClientAuth, "none", "request", "require"), "tls.client_auth: none, request or require"},
		{!oneOf(c.Log.Level, "debug", "info", "warn", "error"), "log.level: debug, info, warn or error"},
		{!oneOf(c.Log.Format, "text", "json"), "log.format: text or json"},
		{c.Listeners.AMQP.TLSAddress != Off && (c.TLS.CertFile == "" || c.TLS.KeyFile == ""),
			"listeners.amqp.tls_address: needs tls.cert_file and tls.key_file"},
		{c.Listeners.Metrics.TLSAddress != Off && (c.TLS.CertFile == "" || c.TLS.KeyFile == ""),
			"listeners.metrics.tls_address: needs tls.cert_file and tls.key_file"},
		{c.TLS.ClientAuth != "none" && c.TLS.CAFile == "", "tls.client_auth: needs tls.ca_file"},
		{c.TLS.CheckInterval < 0, "tls.check_interval: a duration such as 10s, 0s for never"},
	}
	checks = append(checks, c.MQTT.checks()...)
	checks = append(checks, c.stompChecks()...)
	checks = append(checks, c.openwireChecks()...)
	checks = append(checks, c.awsChecks()...)
	checks = append(checks, c.haChecks()...)
	checks = append(checks, c.proxyChecks()...)
	checks = append(checks, c.snsChecks()...)
	for _, check := range checks {
		if check.bad {
			return fmt.Errorf("configuration: %s", check.text)
		}
	}
	return nil
}

func oneOf(s string, list ...string) bool {
	for _, x := range list {
		if s == x {
			return true
		}
	}
	return false
}
