package config

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"time"
)

// HA makes this node one of a cluster. Off, nothing listens for peers.
type HA struct {
	Enabled    bool     `koanf:"enabled"`
	Bind       string   `koanf:"bind"`        // where the other nodes reach this one
	Advertise  string   `koanf:"advertise"`   // host:port that the others use; "" is bind, which then needs a host
	Peers      []string `koanf:"peers"`       // host:port of all nodes; the first founds the cluster. Empty: found one, or join by hand
	Secret     string   `koanf:"secret"`      // shared by all nodes, at least 16 bytes
	SecretFile string   `koanf:"secret_file"` // the same from a file
	CertFile   string   `koanf:"cert_file"`   // of this node, for the other nodes; "" is a throw-away one
	KeyFile    string   `koanf:"key_file"`
	CAFile     string   `koanf:"ca_file"`     // who signs the certificates of all nodes
	Witness    bool     `koanf:"witness"`     // votes and keeps the end of the log; never serves, holds no messages
	WitnessLog Size     `koanf:"witness_log"` // the most log that a witness keeps for a full node that is away; at least 128MiB
	Standby    string   `koanf:"standby"`     // what a standby does with clients: refuse, or relay them to the active node
	LogKeep    Size     `koanf:"log_keep"`
	SeedRate   Size     `koanf:"seed_rate"` // bytes a second that filling a new node may take; 0: no bound

	// ElectionTimeout is how long the others wait for a sign of a leader that
	// is silent; the leader itself gives up after two thirds of it.
	ElectionTimeout time.Duration `koanf:"election_timeout"`
}

func haDefaults() map[string]any {
	return map[string]any{
		"ha.enabled":          false,
		"ha.bind":             ":5680",
		"ha.advertise":        "",
		"ha.peers":            []string{},
		"ha.secret":           "",
		"ha.secret_file":      "",
		"ha.cert_file":        "",
		"ha.key_file":         "",
		"ha.ca_file":          "",
		"ha.witness":          false,
		"ha.witness_log":      "4GiB",
		"ha.standby":          "refuse",
		"ha.log_keep":         "1GiB",
		"ha.seed_rate":        "160MiB",
		"ha.election_timeout": "750ms",
		"node.clock_offset":   "0s",
	}
}

func (c *Config) haChecks() []check {
	h := &c.HA
	if !h.Enabled {
		return nil
	}
	secret, err := h.ClusterSecret()
	files := (h.CertFile != "") == (h.KeyFile != "") && (h.CertFile != "") == (h.CAFile != "")
	host, _, berr := net.SplitHostPort(h.Bind)
	list := []check{
		{err != nil, fmt.Sprintf("ha.secret_file: %v", err)},
		{err == nil && len(secret) < 16, "ha.secret: at least 16 bytes, the same on all nodes"},
		{!files, "ha.cert_file, ha.key_file, ha.ca_file: all or none"},
		{berr != nil, "ha.bind: host:port"},
		{h.Advertise == "" && (host == "" || host == "0.0.0.0" || host == "::") && len(h.Peers) > 0,
			"ha.advertise: needed when ha.bind names no host"},
		{h.ElectionTimeout < 100*time.Millisecond || h.ElectionTimeout > time.Minute, "ha.election_timeout: 100 ms to a minute"},
		{h.Witness && len(h.Peers) == 0, "ha.witness: needs ha.peers"},
		{h.Witness && len(h.Peers) > 0 && (h.Peers[0] == h.Bind || h.Peers[0] == h.Advertise),
			"ha.witness: the first of ha.peers founds the cluster and must be a full node"},
		{h.Standby != "refuse" && h.Standby != "relay", "ha.standby: refuse or relay"},
		{h.WitnessLog < 128<<20, "ha.witness_log: at least 128MiB"},
	}
	for _, p := range h.Peers {
		_, _, err := net.SplitHostPort(p)
		list = append(list, check{err != nil, fmt.Sprintf("ha.peers: %q is not host:port", p)})
	}
	return list
}

// ClusterSecret is the secret, from wherever it is.
func (h *HA) ClusterSecret() ([]byte, error) {
	if h.SecretFile == "" {
		return []byte(h.Secret), nil
	}
	raw, err := os.ReadFile(h.SecretFile)
	return bytes.TrimSpace(raw), err
}
