package config

import (
	"fmt"
	"os"
	"strings"
)

// AWSListener serves the AWS services on one endpoint.
type AWSListener struct {
	Address       string `koanf:"address"`
	TLSAddress    string `koanf:"tls_address"`
	ProxyProtocol bool   `koanf:"proxy_protocol"` // every connection starts with a PROXY v1 or v2 header
	Region        string `koanf:"region"`         // of every name; credentials for any region are taken
	Account       string `koanf:"account"`        // 12 digits; the account of the virtual host /
}

// AWS configures what the AWS services have in common.
type AWS struct {
	BaseURL        string   `koanf:"base_url"`         // in queue URLs; "" is what the client's request says
	Auth           string   `koanf:"auth"`             // auto, strict or relaxed
	AccessKeys     []string `koanf:"access_keys"`      // id:secret:user or id:secret:user:account
	AccessKeysFile string   `koanf:"access_keys_file"` // the same, one a line
	Accounts       []string `koanf:"accounts"`         // account=vhost
	RelaxedUser    string   `koanf:"relaxed_user"`     // whom unproved requests act for; "" is auth.default_user
	CORSOrigins    []string `koanf:"cors_origins"`     // web origins whose pages may call
	StrictTiming   bool     `koanf:"strict_timing"`    // the waits of 60 s after DeleteQueue and PurgeQueue
	InFlight       int      `koanf:"in_flight"`        // most received, undeleted messages of a queue
	SNS            SNS      `koanf:"sns"`
}

func awsDefaults() map[string]any {
	return map[string]any{
		"listeners.aws.address":        ":4566",
		"listeners.aws.tls_address":    Off,
		"listeners.aws.proxy_protocol": false,
		"listeners.aws.region":         "us-east-1",
		"listeners.aws.account":        "000000000000",
		"aws.base_url":                 "",
		"aws.auth":                     "auto",
		"aws.access_keys":              []string{},
		"aws.access_keys_file":         "",
		"aws.accounts":                 []string{},
		"aws.relaxed_user":             "",
		"aws.cors_origins":             []string{"*"},
		"aws.strict_timing":            false,
		"aws.in_flight":                120000,
	}
}

func (c *Config) awsChecks() []check {
	_, keys := c.AWS.Keys()
	_, accounts := c.AWS.AccountMap()
	return []check{
		{!account(c.Listeners.AWS.Account), "listeners.aws.account: 12 digits"},
		{c.Listeners.AWS.Region == "", "listeners.aws.region: must not be empty"},
		{c.Listeners.AWS.TLSAddress != Off && (c.TLS.CertFile == "" || c.TLS.KeyFile == ""),
			"listeners.aws.tls_address: needs tls.cert_file and tls.key_file"},
		{!oneOf(c.AWS.Auth, "auto", "strict", "relaxed"), "aws.auth: auto, strict or relaxed"},
		{keys != nil, fmt.Sprintf("aws.access_keys: %v", keys)},
		{accounts != nil, fmt.Sprintf("aws.accounts: %v", accounts)},
		{c.AWS.InFlight < 1, "aws.in_flight: 1 or more"},
	}
}

// AccessKey is an access key of a user.
type AccessKey struct{ ID, Secret, User, Account string }

// Keys returns the configured access keys. Errors name no secret.
func (a *AWS) Keys() ([]AccessKey, error) {
	lines := append([]string(nil), a.AccessKeys...)
	if a.AccessKeysFile != "" {
		raw, err := os.ReadFile(a.AccessKeysFile)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(raw)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				lines = append(lines, line)
			}
		}
	}
	var keys []AccessKey
	for i, line := range lines {
		f := strings.Split(line, ":")
		if len(f) < 3 || len(f) > 4 || f[0] == "" || f[1] == "" || f[2] == "" || len(f) == 4 && !account(f[3]) {
			return nil, fmt.Errorf("entry %d: want id:secret:user or id:secret:user:account", i+1)
		}
		k := AccessKey{ID: f[0], Secret: f[1], User: f[2]}
		if len(f) == 4 {
			k.Account = f[3]
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// AccountMap returns the virtual hosts of accounts.
func (a *AWS) AccountMap() (map[string]string, error) {
	m := make(map[string]string)
	for _, entry := range a.Accounts {
		id, vhost, ok := strings.Cut(entry, "=")
		if !ok || !account(id) || vhost == "" {
			return nil, fmt.Errorf("%q: want account=vhost", entry)
		}
		m[id] = vhost
	}
	return m, nil
}

func account(s string) bool { return len(s) == 12 && strings.Trim(s, "0123456789") == "" }
