package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func none(string) string { return "" }

func TestPrecedenceIsFlagThenEnvironmentThenFileThenDefault(t *testing.T) {
	name := filepath.Join(t.TempDir(), "hermod.yaml")
	text := "node: {name: from-file}\nlisteners:\n  amqp: {address: ':1', tls_address: 'off'}\nlimits: {disk_free: 2GiB}\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"HERMOD_LISTENERS_AMQP_ADDRESS": ":2", "HERMOD_LOG_LEVEL": "warn"}
	c, err := Load(Source{File: name, Environ: func(k string) string { return env[k] }, Set: []string{"listeners.amqp.address=:3"}, DataDir: "/d"})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Listeners.AMQP.Address; got != ":3" {
		t.Errorf("flag: address = %q, want :3", got)
	}
	if c.Log.Level != "warn" {
		t.Errorf("environment: log.level = %q, want warn", c.Log.Level)
	}
	if c.Node.Name != "from-file" || c.Limits.DiskFree != 2<<30 {
		t.Errorf("file: node.name = %q, disk_free = %d", c.Node.Name, c.Limits.DiskFree)
	}
	if c.AMQP.FrameMax != 131072 || c.DataDir != "/d" || c.Limits.Memory.Percent != 60 {
		t.Errorf("defaults: %+v", c)
	}
}

func TestBadConfigurationIsRefusedWithTheKeysName(t *testing.T) {
	cases := map[string]string{
		"listeners.amqp.adress=:1":        "no such key",
		"limits.max_message_size=64MiB":   "max_message_size",
		"limits.max_message_size=lots":    "want a number of bytes",
		"limits.memory=130%":              "1% to 100%",
		"persistence.confirm=maybe":       "persistence.confirm",
		"listeners.amqp.tls_address=:1":   "cert_file",
		"amqp.frame_max=12":               "frame_max",
		"tls.client_auth=require":         "ca_file",
		"limits.disk_free=99999999999TiB": "want a number of bytes",
		"noequals":                        "key=value",
	}
	for set, want := range cases {
		_, err := Load(Source{Environ: none, Set: []string{set}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--set %s: error %v, want one with %q", set, err, want)
		}
	}
}

func TestUnknownKeyInFileIsRefused(t *testing.T) {
	name := filepath.Join(t.TempDir(), "hermod.yaml")
	if err := os.WriteFile(name, []byte("listener: {amqp: {address: ':1'}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Source{File: name, Environ: none}); err == nil || !strings.Contains(err.Error(), "listener.amqp.address") {
		t.Errorf("error = %v, want the unknown key's name", err)
	}
}

func TestEveryKeyHasAFieldAndAnEnvironmentName(t *testing.T) {
	for _, key := range Keys() {
		name, _, _ := strings.Cut(key, "=")
		if EnvName(name) == "HERMOD_" {
			t.Errorf("key %q has no environment name", key)
		}
	}
	if _, err := Load(Source{Environ: none}); err != nil {
		t.Errorf("defaults do not load: %v", err)
	}
}

func FuzzSize(f *testing.F) {
	f.Add("16MiB")
	f.Add("-1KB")
	f.Fuzz(func(t *testing.T, text string) {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil && s < 0 {
			t.Errorf("size %q = %d", text, s)
		}
	})
}
