package mqtt

import (
	"encoding/json"
	"testing"

	"github.com/hermodmq/hermod/conformance/harness"
)

// TestPerf runs the load generator briefly: it must deliver what it publishes.
func TestPerf(t *testing.T) {
	bin, err := harness.Binary()
	must(t, err)
	for _, args := range [][]string{{"--qos", "0"}, {"--qos", "1", "--durable", "--protocol", "5"}} {
		out, err := harness.Run(bin, append([]string{"perf", "mqtt", "--host", shared.Addr("mqtt"), "--subscribers", "2",
			"--warmup", "100ms", "--duration", "300ms", "--json"}, args...)...)
		must(t, err)
		var r struct {
			Messages struct{ Published, Delivered int64 }
			Latency  *struct{ Count int64 } `json:"delivery_latency"`
		}
		must(t, json.Unmarshal([]byte(out), &r))
		if r.Messages.Delivered == 0 || r.Latency == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
	eventually(t, "its sessions are gone", func() bool {
		for _, q := range queues(t, shared) {
			if len(q) > 23 && q[:23] == "mqtt-subscription-perf-" {
				return false
			}
		}
		return true
	})
}
