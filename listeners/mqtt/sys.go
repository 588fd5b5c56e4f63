package mqtt

import (
	"fmt"
	"math"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// The $SYS topics tell clients how the server does, under the names mosquitto
// gave them. They are not of the exchange amq.topic: no binding of another
// protocol sees them, no queue keeps them. Every SysInterval the server computes
// the values and tells the connections that watch; a subscription gets all of
// them once as retained messages and afterwards those that change, at QoS 0.

// traffic counts what went over connections.
type traffic struct {
	received, sent               int64 // packets
	publishReceived, publishSent int64
	bytesReceived, bytesSent     int64
	dropped                      int64 // messages that were not sent because the client takes no packets of their size
}

// counters are the totals of all connections; each adds its own from time to
// time.
type counters struct {
	received, sent, publishReceived, publishSent, bytesReceived, bytesSent, dropped atomic.Int64
	connects, expired, subscriptions                                                atomic.Int64
	byVersion                                                                       [wire.V5 + 1]struct{ connects, connected atomic.Int64 }
	refused                                                                         [256]atomic.Int64 // CONNACK and DISCONNECT by reason
}

func (v *counters) add(t *traffic) {
	if *t == (traffic{}) {
		return
	}
	v.received.Add(t.received)
	v.sent.Add(t.sent)
	v.publishReceived.Add(t.publishReceived)
	v.publishSent.Add(t.publishSent)
	v.bytesReceived.Add(t.bytesReceived)
	v.bytesSent.Add(t.bytesSent)
	v.dropped.Add(t.dropped)
	*t = traffic{}
}

// Stats are numbers of the listener for metrics.
type Stats struct {
	Received, Sent, PublishReceived, PublishSent, BytesReceived, BytesSent, Dropped int64
	Connects, Sessions, Connected, Subscriptions                                    int64
	ByVersion                                                                       map[wire.Version]VersionStats
	Reasons                                                                         map[wire.Reason]int64 // CONNACK and DISCONNECT that refuse or end
}

// VersionStats are the numbers of the clients of one version of the protocol.
type VersionStats struct {
	Connects  int64 // let in since the start
	Connected int64 // now
}

// Stats returns the numbers of now, late by no more than the transport's tick.
func (v *Server) Stats() Stats {
	n := &v.counters
	all, connected := v.Sessions()
	s := Stats{
		Received: n.received.Load(), Sent: n.sent.Load(), PublishReceived: n.publishReceived.Load(), PublishSent: n.publishSent.Load(),
		BytesReceived: n.bytesReceived.Load(), BytesSent: n.bytesSent.Load(), Dropped: n.dropped.Load(),
		Connects: n.connects.Load(), Sessions: int64(all), Connected: int64(connected), Subscriptions: n.subscriptions.Load(),
		Reasons: make(map[wire.Reason]int64), ByVersion: make(map[wire.Version]VersionStats),
	}
	for ver := range protocolNames {
		k := &n.byVersion[ver]
		s.ByVersion[ver] = VersionStats{k.connects.Load(), k.connected.Load()}
	}
	for i := range n.refused {
		if k := n.refused[i].Load(); k > 0 {
			s.Reasons[wire.Reason(i)] = k
		}
	}
	return s
}

// sysValue is one $SYS topic.
type sysValue struct {
	topic   string
	msg     *broker.Message
	changed bool // since the last update
}

// sysState is what computing the values needs. It belongs to Tick, except
// current.
type sysState struct {
	current atomic.Pointer[[]sysValue]
	next    int64 // Unix ms of the next update
	last    int64 // and of the last one
	started int64
	most    int
	before  map[string]int64      // counters at the last update
	loads   map[string][3]float64 // by name: averages of 1, 5 and 15 minutes, per minute
}

// isSys says that a filter is for $SYS topics.
func (o *Options) isSys(filter string) bool {
	return o.SysInterval > 0 && (filter == "$SYS" || strings.HasPrefix(filter, "$SYS/"))
}

// tickSys updates the $SYS topics if it is time.
func (v *Server) tickSys(now int64) {
	y := &v.sys
	if v.opt.SysInterval <= 0 || now < y.next {
		return
	}
	if y.started == 0 {
		y.started, y.last = now, now
		y.before, y.loads = make(map[string]int64), make(map[string][3]float64)
	}
	y.next = now + v.opt.SysInterval.Milliseconds()
	values := v.sysValues(now)
	y.last = now
	known := map[string]string{}
	if old := y.current.Load(); old != nil {
		for _, e := range *old {
			known[e.topic] = string(e.msg.Body)
		}
	}
	list := make([]sysValue, 0, len(values))
	for _, e := range values {
		was, there := known[e[0]]
		list = append(list, sysValue{topic: e[0], msg: sysMessage(e[0], e[1], now), changed: !there || was != e[1]})
	}
	y.current.Store(&list)
	v.mu.Lock()
	defer v.mu.Unlock()
	for c := range v.watchers {
		c.link.Post(transport.Event{Kind: eventSys, P: list})
	}
}

func sysMessage(name, value string, now int64) *broker.Message {
	return &broker.Message{
		Exchange: exchange, RoutingKey: string(appendKey(nil, name)), Native: appendNative(nil, 0, true, 0, nil),
		Body: []byte(value), Format: broker.FormatMQTT, TTL: broker.NoTTL, Received: now,
	}
}

// sysValues computes all values; it is called once per update.
func (v *Server) sysValues(now int64) [][2]string {
	y, st, total := &v.sys, v.Stats(), v.broker.Totals()
	y.most = max(y.most, int(st.Connected))
	retained := 0
	for _, h := range v.broker.ListVHosts() {
		if host := v.broker.VHost(h.Name); host != nil {
			n, _ := host.RetainedCount()
			retained += n
		}
	}
	v.groupsMu.Lock()
	groups := len(v.groups)
	v.groupsMu.Unlock()
	list := [][2]string{
		{"version", v.opt.Version},
		{"uptime", fmt.Sprintf("%d seconds", (now-y.started)/1000)},
	}
	number := func(name string, n int64) { list = append(list, [2]string{name, strconv.FormatInt(n, 10)}) }
	number("clients/total", st.Sessions)
	number("clients/connected", st.Connected)
	number("clients/active", st.Connected)
	number("clients/disconnected", st.Sessions-st.Connected)
	number("clients/inactive", st.Sessions-st.Connected)
	number("clients/maximum", int64(y.most))
	number("clients/expired", v.counters.expired.Load())
	number("messages/received", st.Received)
	number("messages/sent", st.Sent)
	number("publish/messages/received", st.PublishReceived)
	number("publish/messages/sent", st.PublishSent)
	number("publish/messages/dropped", st.Dropped)
	number("bytes/received", st.BytesReceived)
	number("bytes/sent", st.BytesSent)
	number("store/messages/count", int64(total.Ready+total.Unsettled))
	number("messages/stored", int64(total.Ready+total.Unsettled))
	number("retained messages/count", int64(retained))
	number("subscriptions/count", st.Subscriptions)
	number("shared_subscriptions/count", int64(groups))
	number("heap/current", heapBytes())
	for _, l := range []struct {
		name  string
		count int64
	}{
		{"messages/received", st.Received}, {"messages/sent", st.Sent},
		{"publish/received", st.PublishReceived}, {"publish/sent", st.PublishSent},
		{"bytes/received", st.BytesReceived}, {"bytes/sent", st.BytesSent},
		{"connections", st.Connects},
	} {
		averages := y.load(l.name, l.count, now)
		for i, minutes := range loadMinutes {
			list = append(list, [2]string{fmt.Sprintf("load/%s/%dmin", l.name, minutes), strconv.FormatFloat(averages[i], 'f', 2, 64)})
		}
	}
	for i := range list {
		list[i][0] = "$SYS/broker/" + list[i][0]
	}
	return list
}

var loadMinutes = [3]int{1, 5, 15}

// load updates the moving averages of a counter, per minute.
func (y *sysState) load(name string, count, now int64) [3]float64 {
	averages := y.loads[name]
	if passed := time.Duration(now-y.last) * time.Millisecond; passed > 0 {
		rate := float64(count-y.before[name]) / passed.Minutes()
		for i, minutes := range loadMinutes {
			averages[i] = rate + math.Exp(-passed.Minutes()/float64(minutes))*(averages[i]-rate)
		}
	}
	y.before[name], y.loads[name] = count, averages
	return averages
}

func heapBytes() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return int64(s[0].Value.Uint64())
}

// watchSys makes the connection hear of updates if its session has a
// subscription to $SYS topics.
func (c *conn) watchSys() {
	for _, sub := range c.session.list {
		if sub.sys {
			c.srv.mu.Lock()
			c.srv.watchers[c] = struct{}{}
			c.srv.mu.Unlock()
			c.watches = true
			return
		}
	}
}

// unwatchSys ends watchSys.
func (c *conn) unwatchSys() {
	if c.watches {
		c.srv.mu.Lock()
		delete(c.srv.watchers, c)
		c.srv.mu.Unlock()
		c.watches = false
	}
}

// subscribeSys takes a subscription to $SYS topics.
func (c *conn) subscribeSys(sub, old *subscription) error {
	if err := c.publisher().CheckTopic(false, exchange, sub.pattern()); err != nil {
		return err
	}
	if sub.options &^= 3; old != nil {
		old.options, old.id = sub.options, sub.id
	} else {
		c.session.add(sub)
	}
	c.watchSys()
	return nil
}

// sendSys sends an update to the subscriptions that match.
func (c *conn) sendSys(list []sysValue) {
	for i := range list {
		if e := &list[i]; e.changed {
			t := target{}
			for _, sub := range c.session.list {
				if sub.sys && wire.Match(sub.match, e.topic) {
					t.send = true
					t.retain = t.retain || sub.options&wire.RetainAsPublished != 0
					if sub.id != 0 {
						t.subIDs = append(t.subIDs, sub.id)
					}
				}
			}
			if c.opt.Copies {
				c.sendSysCopies(e)
			} else if t.send && !c.choked() {
				c.sendSysValue(e, &t)
			}
		}
	}
}

// sendSysCopies sends an update once for each subscription that matches.
func (c *conn) sendSysCopies(e *sysValue) {
	for _, sub := range c.session.list {
		if sub.sys && wire.Match(sub.match, e.topic) && !c.choked() {
			t := sub.target(0, true)
			c.sendSysValue(e, &t)
		}
	}
}

func (c *conn) sendSysValue(e *sysValue, t *target) {
	v := viewOf(e.msg)
	name, _ := c.topicOf(e.msg, &v)
	c.writePublish(name, e.msg, &v, t, 0, false)
}

// sendRetainedSys sends the current values to a new subscription.
func (c *conn) sendRetainedSys(sub *subscription) {
	list := c.srv.sys.current.Load()
	if list == nil {
		return
	}
	for i := range *list {
		if e := &(*list)[i]; wire.Match(sub.match, e.topic) {
			t := target{retain: true}
			if sub.id != 0 {
				t.subIDs = []uint32{sub.id}
			}
			c.sendSysValue(e, &t)
		}
	}
}
