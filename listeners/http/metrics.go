package http

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hermodmq/hermod/broker"
)

// Sample is one number that another part of the node contributes.
type Sample struct {
	Name    string // of the metric; [a-z_]+
	Help    string
	Counter bool // only ever rises
	Value   float64
	Labels  prometheus.Labels // mostly none
}

// collector reads the core at each scrape: nothing is counted twice, and an
// unscraped node pays nothing.
type collector struct {
	core  *broker.Broker
	extra func() []Sample
}

// Describe implements prometheus.Collector. It describes nothing, which makes
// the collector unchecked: what others contribute is known at scrape only.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	samples := c.extra()
	if c.core != nil {
		samples = append(c.totals(), samples...)
	}
	for _, s := range samples {
		kind := prometheus.GaugeValue
		if s.Counter {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(s.Name, s.Help, nil, s.Labels), kind, s.Value)
	}
	if c.core == nil {
		return
	}
	identity := prometheus.Labels{"rabbitmq_node": c.core.Node(), "rabbitmq_cluster": c.core.Node()}
	out <- prometheus.MustNewConstMetric(
		prometheus.NewDesc("rabbitmq_identity_info", "What this node calls itself", nil, identity), prometheus.GaugeValue, 1)
}

func (c *collector) totals() []Sample {
	t := c.core.Totals()
	alarm := func(a broker.Alarm) float64 {
		if c.core.Alarms()&a != 0 {
			return 1
		}
		return 0
	}
	gauge := func(name, help string, v float64) Sample { return Sample{Name: name, Help: help, Value: v} }
	counter := func(name, help string, v uint64) Sample {
		return Sample{Name: name, Help: help, Counter: true, Value: float64(v)}
	}
	n := t.Counters
	return []Sample{
		gauge("rabbitmq_connections", "Client connections", float64(t.Connections)),
		gauge("rabbitmq_channels", "Sessions of client connections", float64(t.Channels)),
		gauge("rabbitmq_consumers", "Consumers", float64(t.Consumers)),
		gauge("rabbitmq_queues", "Queues", float64(t.Queues)),
		gauge("rabbitmq_queue_messages_ready", "Messages ready for delivery", float64(t.Ready)),
		gauge("rabbitmq_queue_messages_unacked", "Messages delivered and not settled", float64(t.Unsettled)),
		gauge("rabbitmq_alarms_memory_used_watermark", "1 while the memory alarm blocks publishers", alarm(broker.AlarmMemory)),
		gauge("rabbitmq_alarms_free_disk_space_watermark", "1 while the disk alarm blocks publishers", alarm(broker.AlarmDisk)),
		gauge("hermod_messages_memory_bytes", "Messages held in memory", float64(t.Memory)),
		gauge("hermod_uptime_seconds", "Time since start", time.Since(time.UnixMilli(t.StartedAt)).Seconds()),
		counter("hermod_queue_messages_published_total", "Messages put into queues", n.Published),
		counter("hermod_queue_messages_rejected_total", "Messages refused by queues at their limit", n.Rejected),
		counter("hermod_queue_messages_delivered_total", "Messages handed to consumers", n.Delivered),
		counter("hermod_queue_messages_got_total", "Messages fetched one by one", n.Got),
		counter("hermod_queue_messages_acknowledged_total", "Messages settled as accepted", n.Acknowledged),
		counter("hermod_queue_messages_redelivered_total", "Deliveries of messages delivered before", n.Redelivered),
		counter("hermod_queue_messages_expired_total", "Messages whose time ran out", n.Expired),
		counter("hermod_queue_messages_overlength_total", "Messages dropped at a length limit", n.OverLength),
		counter("hermod_queue_messages_refused_total", "Messages settled as rejected", n.Refused),
		counter("hermod_queue_messages_overdelivered_total", "Messages over the delivery limit", n.OverLimit),
		counter("hermod_queue_read_errors_total", "Reads of stored messages that failed", n.ReadErrors),
	}
}
