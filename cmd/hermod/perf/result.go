package perf

import (
	"fmt"
	"io"
)

// loadResult is what a load of producers and consumers reports.
type loadResult struct {
	Scenario        string     `json:"scenario"`
	Unit            string     `json:"unit"` // what CPU time per message is per
	Size            int        `json:"body_bytes"`
	Messages        counters   `json:"messages"`
	PublishRate     float64    `json:"publish_rate"`
	ConfirmRate     float64    `json:"confirm_rate"`
	DeliverRate     float64    `json:"deliver_rate"`
	Blocked         int64      `json:"connections_blocked"`
	ConfirmLatency  *latencies `json:"confirm_latency,omitempty"`
	DeliveryLatency *latencies `json:"delivery_latency,omitempty"`
	Cost            cost       `json:"cost"`
}

func (r *loadResult) rates() {
	if s := r.Cost.Seconds; s > 0 {
		r.PublishRate = float64(r.Messages.Published) / s
		r.ConfirmRate = float64(r.Messages.Confirmed) / s
		r.DeliverRate = float64(r.Messages.Delivered) / s
	}
}

func (r *loadResult) writeText(w io.Writer) {
	fmt.Fprintf(w, "%s, %.2f s\n", r.Scenario, r.Cost.Seconds)
	line := func(name string, n int64, rate float64) {
		if n > 0 {
			fmt.Fprintf(w, "%-10s %d messages, %.0f/s, %.1f MiB/s\n", name, n, rate, rate*float64(r.Size)/(1<<20))
		}
	}
	line("published", r.Messages.Published, r.PublishRate)
	line("confirmed", r.Messages.Confirmed, r.ConfirmRate)
	line("delivered", r.Messages.Delivered, r.DeliverRate)
	for _, odd := range []struct {
		name string
		n    int64
	}{{"refused (nack)", r.Messages.Nacked}, {"returned", r.Messages.Returned}, {"connection.blocked", r.Blocked}} {
		if odd.n > 0 {
			fmt.Fprintf(w, "%-10s %d\n", odd.name, odd.n)
		}
	}
	if r.ConfirmLatency != nil {
		fmt.Fprintf(w, "confirm    %v\n", r.ConfirmLatency)
	}
	if r.DeliveryLatency != nil {
		fmt.Fprintf(w, "delivery   %v\n", r.DeliveryLatency)
	}
	r.Cost.writeText(w, "broker", r.Unit)
}

// idleResult is what `perf amqp --idle` reports.
type idleResult struct {
	Connections int     `json:"connections"`
	OpenSeconds float64 `json:"open_seconds"`
	RSSBefore   int64   `json:"broker_rss_before_bytes"`
	RSSAfter    int64   `json:"broker_rss_after_bytes"`
	PerConn     int64   `json:"broker_rss_bytes_per_connection"`
	OpenCPU     float64 `json:"broker_cpu_us_per_open"`
	Cost        cost    `json:"cost"` // of holding them open
}

func (r *idleResult) writeText(w io.Writer) {
	fmt.Fprintf(w, "%d idle connections with a channel each, opened in %.2f s\n", r.Connections, r.OpenSeconds)
	if r.Cost.BrokerMeasured {
		fmt.Fprintf(w, "broker     RSS %s before, %s after: %.1f KiB per connection; %.0f us CPU to open one; %.1f %% of one CPU to hold them\n",
			bytesText(r.RSSBefore), bytesText(r.RSSAfter), float64(r.PerConn)/1024, r.OpenCPU, r.Cost.BrokerShare*100)
	}
	fmt.Fprintf(w, "machine    %d CPUs, %.0f %% busy\n", r.Cost.MachineCPUs, r.Cost.MachineBusy*100)
}
