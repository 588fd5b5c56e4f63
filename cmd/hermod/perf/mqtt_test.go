package perf

import (
	"strings"
	"testing"
)

func TestMQTTOptions(t *testing.T) {
	good := func() *mqttOptions {
		return &mqttOptions{version: 4, publishers: 1, subscribers: 1, topics: 1, window: 1, dialers: 1, term: term{duration: 1}}
	}
	if err := good().validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*mqttOptions){
		"--protocol": func(o *mqttOptions) { o.version = 6 },
		"--topics":   func(o *mqttOptions) { o.topics = 0 },
		"--qos":      func(o *mqttOptions) { o.qos = 2 },
		"--window":   func(o *mqttOptions) { o.qos, o.window = 1, 0 },
		"--dialers":  func(o *mqttOptions) { o.dialers = 0 },
		"--duration": func(o *mqttOptions) { o.duration = 0 },
	} {
		o := good()
		change(o)
		if err := o.validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
