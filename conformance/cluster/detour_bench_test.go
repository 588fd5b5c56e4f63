package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Figures of what is not the plain cluster of three: a witness in the place of
// a full node, and clients connected to a standby that relays.
//
//	go test -run '^$' -bench WithWitness -benchtime 20x .
//	go test -run '^$' -bench Relay -benchtime 3x .

// BenchmarkTakeoverWithWitness is BenchmarkTakeover with two full nodes and a
// witness.
func BenchmarkTakeoverWithWitness(b *testing.B) { benchCluster(b, 3, withWitness).takeovers(b) }

// BenchmarkRelay compares, in turns, confirmed publishes of 1 KiB with a window
// of 1,000 on four connections to the active node and to a standby that
// relays, and the processor time that all nodes together spend on each.
func BenchmarkRelay(b *testing.B) {
	w := benchCluster(b, 3, set("ha.standby=relay"))
	l := w.leader(serveLimit)
	var rates, costs [2][]float64
	for b.Loop() {
		for i, at := range []int{l, (l + 1) % len(w.nodes)} {
			before := w.processorTime(b)
			n := w.floodAt(b, at, 4, 1000, 3*time.Second)
			rates[i] = append(rates[i], float64(n)/3)
			costs[i] = append(costs[i], float64((w.processorTime(b)-before).Microseconds())/float64(n))
		}
	}
	for i, name := range []string{"direct", "relayed"} {
		b.ReportMetric(middle(rates[i]), name+"-msgs/s")
		b.ReportMetric(middle(costs[i]), name+"-cpu-us/msg")
	}
	b.ReportMetric(0, "ns/op")
}

// floodAt publishes at one node for a while and returns how many were
// confirmed.
func (w *world) floodAt(b *testing.B, at, connections, size int, d time.Duration) int64 {
	b.Helper()
	stop, ended := make(chan struct{}), make(chan struct{})
	var confirmed atomic.Int64
	for range connections {
		ch, cut, err := w.channel(w.addresses(portAMQP, at)[0])
		if err != nil {
			b.Fatal(err)
		}
		go func() {
			flood(b, ch, queuePlain, size, stop, &confirmed)
			cut()
			ended <- struct{}{}
		}()
	}
	<-time.After(d)
	n := confirmed.Load()
	close(stop)
	for range connections {
		<-ended
	}
	ch, cut, err := w.channel(w.addresses(portAMQP, at)[0])
	if err != nil {
		b.Fatal(err)
	}
	defer cut()
	if _, err := ch.QueuePurge(queuePlain, false); err != nil {
		b.Fatal(err)
	}
	return n
}

// processorTime is what all nodes' processes have used, in user and system.
func (w *world) processorTime(b *testing.B) time.Duration {
	b.Helper()
	var ticks int64
	for _, n := range w.nodes {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.broker.PID()))
		if err != nil {
			b.Fatal(err)
		}
		f := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		for _, field := range f[11:13] { // utime and stime, in hundredths of a second
			v, err := strconv.ParseInt(string(field), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			ticks += v
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// flood publishes persistent messages with confirms, at most size of them
// unconfirmed, until stop, and counts what was confirmed.
func flood(b *testing.B, ch *amqp.Channel, queue string, size int, stop <-chan struct{}, confirmed *atomic.Int64) {
	b.Helper()
	if err := ch.Confirm(false); err != nil {
		b.Fatal(err)
	}
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, size))
	body := make([]byte, benchBody)
	for open := 0; ; {
		select {
		case <-stop:
			return
		default:
		}
		if err := ch.PublishWithContext(context.Background(), "", queue, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body}); err != nil {
			b.Error(err)
			return
		}
		if open++; open < size {
			continue
		}
		if c, ok := <-confirms; !ok || !c.Ack {
			b.Error("a publish was not confirmed")
			return
		}
		open--
		confirmed.Add(1)
	}
}
