package harness

import "testing"

func TestParseListener(t *testing.T) {
	for line, want := range map[string][2]string{
		"listener amqp 127.0.0.1:5672":     {"amqp", "127.0.0.1:5672"},
		"listener amqp tls 127.0.0.1:5671": {"amqp tls", "127.0.0.1:5671"},
		"listener mqtt [::1]:1883":         {"mqtt", "[::1]:1883"},
		"listening on 127.0.0.1:5672":      {},
		"listener amqp":                    {},
	} {
		name, addr, ok := parseListener(line)
		if name != want[0] || addr != want[1] || ok != (want[0] != "") {
			t.Errorf("%q = %q, %q, %v, want %q", line, name, addr, ok, want)
		}
	}
}

func TestSettingOf(t *testing.T) {
	for listener, want := range map[string]string{
		"amqp":               "listeners.amqp.address",
		"amqp tls":           "listeners.amqp.tls_address",
		"amqp-tls":           "listeners.amqp.tls_address",
		"peers":              "ha.bind",
		"amqps":              "listeners.amqp.tls_address",
		"mqtt websocket":     "listeners.mqtt.websocket_address",
		"mqtt-websocket-tls": "listeners.mqtt.websocket_tls_address",
		"metrics":            "listeners.metrics.address",
		"aws":                "listeners.aws.address",
	} {
		if got := settingOf(listener); got != want {
			t.Errorf("settingOf(%q) = %q, want %q", listener, got, want)
		}
	}
}
