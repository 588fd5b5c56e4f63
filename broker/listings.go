package broker

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// The methods of this file answer questions of operators. What they return is
// a snapshot without locks. A vhost of "" means all.

// QueueStatus describes a queue. The names are those of RabbitMQ's API.
type QueueStatus struct {
	Name        string         `json:"name"`
	VHost       string         `json:"vhost"`
	Type        string         `json:"type"`
	Durable     bool           `json:"durable"`
	AutoDelete  bool           `json:"auto_delete"`
	Exclusive   bool           `json:"exclusive"`
	Owner       string         `json:"owner,omitempty"` // connection of an exclusive queue
	Arguments   map[string]any `json:"arguments"`
	Policy      string         `json:"policy,omitempty"`
	Operator    string         `json:"operator_policy,omitempty"`
	Effective   map[string]any `json:"effective_policy_definition"`
	Messages    int            `json:"messages"`
	Ready       int            `json:"messages_ready"`
	Unsettled   int            `json:"messages_unacknowledged"`
	Delayed     int            `json:"messages_delayed"`
	ReadyBytes  int64          `json:"message_bytes_ready"`
	Memory      int64          `json:"memory"`
	Consumers   int            `json:"consumers"`
	Bindings    int            `json:"bindings"`
	State       string         `json:"state"` // running or paused
	IdleSince   int64          `json:"idle_since_ms"`
	SingleAlive string         `json:"single_active_consumer_tag,omitempty"`
	Counters    QueueCounters  `json:"counters"`
	Config      QueueConfig    `json:"-"`
}

// ExchangeStatus describes an exchange.
type ExchangeStatus struct {
	Name       string         `json:"name"`
	VHost      string         `json:"vhost"`
	Type       string         `json:"type"`
	Durable    bool           `json:"durable"`
	AutoDelete bool           `json:"auto_delete"`
	Internal   bool           `json:"internal"`
	Arguments  map[string]any `json:"arguments"`
	Policy     string         `json:"policy,omitempty"`
	Bindings   int            `json:"bindings"` // as source
}

// BindingStatus describes a binding.
type BindingStatus struct {
	Source          string         `json:"source"`
	VHost           string         `json:"vhost"`
	Destination     string         `json:"destination"`
	DestinationType string         `json:"destination_type"`
	RoutingKey      string         `json:"routing_key"`
	Arguments       map[string]any `json:"arguments"`
	Args            Table          `json:"-"`
}

// ConnectionStatus describes a connection.
type ConnectionStatus struct {
	ID          uint64         `json:"id"`
	Name        string         `json:"name"`
	User        string         `json:"user"`
	VHost       string         `json:"vhost"`
	Protocol    string         `json:"protocol"`
	PeerHost    string         `json:"peer_host"`
	PeerPort    int            `json:"peer_port"`
	Host        string         `json:"host"`
	Port        int            `json:"port"`
	TLS         bool           `json:"ssl"`
	AuthMethod  string         `json:"auth_mechanism"`
	ChannelMax  int            `json:"channel_max"`
	FrameMax    int            `json:"frame_max"`
	Heartbeat   int            `json:"timeout"`
	Channels    int            `json:"channels"`
	ConnectedAt int64          `json:"connected_at"` // Unix ms
	Client      map[string]any `json:"client_properties"`
}

// ChannelStatus describes a session.
type ChannelStatus struct {
	Connection   string `json:"connection"`
	ConnectionID uint64 `json:"connection_id"`
	Number       int    `json:"number"` // the protocol's; of sessions that have none, the place in the listing
	User         string `json:"user"`
	VHost        string `json:"vhost"`
	Consumers    int    `json:"consumer_count"`
}

// ConsumerStatus describes a subscription.
type ConsumerStatus struct {
	Queue        string `json:"queue"`
	VHost        string `json:"vhost"`
	Tag          string `json:"consumer_tag"`
	Connection   string `json:"connection"`
	ConnectionID uint64 `json:"connection_id"`
	User         string `json:"user"`
	AckRequired  bool   `json:"ack_required"`
	Exclusive    bool   `json:"exclusive"`
	Prefetch     int    `json:"prefetch_count"`
	Priority     int    `json:"priority"`
}

// UserStatus describes a user.
type UserStatus struct {
	Name      string           `json:"name"`
	Tags      []string         `json:"tags"`
	Algorithm string           `json:"hashing_algorithm"`
	Hash      string           `json:"password_hash"`
	Limits    map[string]int64 `json:"limits"`
}

// VHostStatus describes a virtual host.
type VHostStatus struct {
	VHostOptions
	Queues      int              `json:"queues"`
	Exchanges   int              `json:"exchanges"`
	Connections int64            `json:"connections"`
	Limits      map[string]int64 `json:"limits"`
}

// ParameterStatus is a runtime parameter.
type ParameterStatus struct {
	Component string          `json:"component,omitempty"`
	VHost     string          `json:"vhost,omitempty"`
	Name      string          `json:"name"`
	Value     json.RawMessage `json:"value"`
}

func (b *Broker) chosen(vhost string) []*VHost {
	if vhost == "" {
		return b.sortedVHosts()
	}
	if v := b.vhosts.get(vhost); v != nil {
		return []*VHost{v}
	}
	return nil
}

// ListQueues describes queues by virtual host and name.
func (b *Broker) ListQueues(vhost string) []QueueStatus {
	list := []QueueStatus{}
	for _, v := range b.chosen(vhost) {
		v.mu.Lock()
		part := make([]QueueStatus, 0, len(v.meta))
		queues := make([]*Queue, 0, len(v.meta))
		for q, m := range v.meta {
			part = append(part, m.status(v))
			queues = append(queues, q)
		}
		v.mu.Unlock()
		for i, q := range queues {
			part[i].count(q)
		}
		slices.SortFunc(part, func(x, y QueueStatus) int { return strings.Compare(x.Name, y.Name) })
		list = append(list, part...)
	}
	return list
}

// DescribeQueue describes one queue; false if there is none.
func (b *Broker) DescribeQueue(vhost, name string) (QueueStatus, bool) {
	v := b.vhosts.get(vhost)
	if v == nil {
		return QueueStatus{}, false
	}
	q := v.queue(name)
	if q == nil {
		return QueueStatus{}, false
	}
	v.mu.Lock()
	m := v.meta[q]
	if m == nil {
		v.mu.Unlock()
		return QueueStatus{}, false
	}
	s := m.status(v)
	v.mu.Unlock()
	s.count(q)
	return s, true
}

// status is what the topology knows. v.mu is held.
func (m *queueMeta) status(v *VHost) QueueStatus {
	s := QueueStatus{
		Name: m.queue.Name(), VHost: v.name, Type: m.declared.Kind.String(), Durable: m.durable,
		AutoDelete: m.declared.AutoDelete, Exclusive: m.declared.Exclusive, Arguments: plainJSON(m.args),
		Bindings: len(m.bindings) + 1, // with the implicit one
		State:    "running", Config: m.effective(), Effective: effectiveDefinition(m.policy, m.operator),
	}
	if m.owner != nil {
		s.Owner = m.owner.Name()
	}
	if m.policy != nil {
		s.Policy = m.policy.Name
	}
	if m.operator != nil {
		s.Operator = m.operator.Name
	}
	return s
}

func (s *QueueStatus) count(q *Queue) {
	c := q.Stats()
	s.Ready, s.Unsettled, s.Delayed = c.Ready, c.Unsettled, c.Delayed
	s.Messages = c.Ready + c.Unsettled
	s.ReadyBytes, s.Memory, s.Consumers, s.IdleSince = c.ReadyBytes, c.Memory, c.Consumers, c.LastUsed
	s.SingleAlive, s.Counters = c.SingleActive, c.QueueCounters
	if c.Paused {
		s.State = "paused"
	}
}

// effectiveDefinition is what a policy and an operator policy set together.
func effectiveDefinition(policy, operator *Policy) map[string]any {
	merged := make(map[string]any)
	for _, p := range []*Policy{policy, operator} {
		if p == nil {
			continue
		}
		for key, n := range p.numbers {
			if have, ok := merged[key].(int64); !ok || n < have {
				merged[key] = n
			}
		}
		for key, s := range p.texts {
			merged[key] = s
		}
	}
	return merged
}

// ListExchanges describes exchanges, the default one included.
func (b *Broker) ListExchanges(vhost string) []ExchangeStatus {
	list := []ExchangeStatus{}
	for _, v := range b.chosen(vhost) {
		v.mu.Lock()
		exchanges := append(v.exchanges.all(), v.standard)
		slices.SortFunc(exchanges, func(x, y *Exchange) int { return strings.Compare(x.name, y.name) })
		for _, x := range exchanges {
			s := ExchangeStatus{
				Name: x.name, VHost: v.name, Type: x.kind, Durable: x.durable, AutoDelete: x.autoDelete,
				Internal: x.internal, Arguments: plainJSON(x.args), Bindings: len(x.bindings),
			}
			if x.policy != nil {
				s.Policy = x.policy.Name
			}
			list = append(list, s)
		}
		v.mu.Unlock()
	}
	return list
}

// ListBindings describes bindings, those of the default exchange included.
func (b *Broker) ListBindings(vhost string) []BindingStatus {
	list := []BindingStatus{}
	for _, v := range b.chosen(vhost) {
		start := len(list)
		v.mu.Lock()
		for q := range v.meta {
			list = append(list, BindingStatus{
				VHost: v.name, Destination: q.Name(), DestinationType: "queue", RoutingKey: q.Name(),
				Arguments: map[string]any{},
			})
		}
		for _, x := range v.exchanges.all() {
			for _, d := range x.bindings {
				list = append(list, BindingStatus{
					x.name, v.name, d.id.dest, destinationType(d.id.toExchange), d.id.key, plainJSON(d.args), d.args,
				})
			}
		}
		v.mu.Unlock()
		slices.SortFunc(list[start:], func(x, y BindingStatus) int {
			return cmp.Or(strings.Compare(x.Source, y.Source), strings.Compare(x.DestinationType, y.DestinationType),
				strings.Compare(x.Destination, y.Destination), strings.Compare(x.RoutingKey, y.RoutingKey))
		})
	}
	return list
}

// ListConnections describes open connections, oldest first.
func (b *Broker) ListConnections() []ConnectionStatus {
	list := []ConnectionStatus{}
	for _, c := range b.sortedConnections() {
		o := &c.options
		c.mu.Lock()
		channels := len(c.sessions)
		c.mu.Unlock()
		list = append(list, ConnectionStatus{
			ID: c.id, Name: o.Name, User: c.User().Name, VHost: c.vhost.name, Protocol: o.Protocol,
			PeerHost: o.Peer, PeerPort: o.PeerPort, Host: o.Host, Port: o.Port, TLS: o.TLS,
			AuthMethod: o.AuthMethod, ChannelMax: o.ChannelMax, FrameMax: o.FrameMax, Heartbeat: o.Heartbeat,
			Channels: channels, ConnectedAt: c.since, Client: plainJSON(o.Client),
		})
	}
	return list
}

func (b *Broker) sortedConnections() []*Connection {
	list := b.conns.all()
	slices.SortFunc(list, func(x, y *Connection) int { return cmp.Compare(x.id, y.id) })
	return list
}

// ListChannels describes the sessions of all connections.
func (b *Broker) ListChannels() []ChannelStatus {
	list := []ChannelStatus{}
	for _, c := range b.sortedConnections() {
		start := len(list)
		for i, s := range c.openSessions() {
			number := int(s.number.Load())
			if number == 0 {
				number = i + 1
			}
			list = append(list, ChannelStatus{
				Connection: c.options.Name, ConnectionID: c.id, Number: number, User: c.User().Name,
				VHost: c.vhost.name, Consumers: len(s.subscriptions()),
			})
		}
		slices.SortFunc(list[start:], func(x, y ChannelStatus) int { return x.Number - y.Number })
	}
	return list
}

func (s *Session) subscriptions() []*Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.subs)
}

// ListConsumers describes the subscriptions on queues.
func (b *Broker) ListConsumers(vhost string) []ConsumerStatus {
	list := []ConsumerStatus{}
	for _, c := range b.sortedConnections() {
		if vhost != "" && c.vhost.name != vhost {
			continue
		}
		for _, s := range c.openSessions() {
			for _, sub := range s.subscriptions() {
				if sub.Queue == nil {
					continue
				}
				list = append(list, ConsumerStatus{
					Queue: sub.Queue.Name(), VHost: c.vhost.name, Tag: sub.Tag, Connection: c.options.Name,
					ConnectionID: c.id, User: c.User().Name, AckRequired: !sub.NoAck, Exclusive: sub.Exclusive(),
					Prefetch: sub.Prefetch(), Priority: sub.Priority(),
				})
			}
		}
	}
	slices.SortStableFunc(list, func(x, y ConsumerStatus) int {
		return cmp.Or(strings.Compare(x.VHost, y.VHost), strings.Compare(x.Queue, y.Queue))
	})
	return list
}

// ListUsers describes users by name.
func (b *Broker) ListUsers() []UserStatus {
	list := []UserStatus{}
	a := &b.auth
	a.mu.RLock()
	for _, u := range a.users {
		s := UserStatus{
			Name: u.Name, Tags: append([]string{}, u.Tags...), Algorithm: u.hash.Algorithm, Hash: u.hash.Text,
			Limits: map[string]int64{},
		}
		if l := a.limits[u.Name]; l != nil {
			s.Limits = cloneMap(l.values)
		}
		list = append(list, s)
	}
	a.mu.RUnlock()
	slices.SortFunc(list, func(x, y UserStatus) int { return strings.Compare(x.Name, y.Name) })
	return list
}

// ListPermissions returns all rights, by virtual host and user.
func (b *Broker) ListPermissions() []Permissions {
	f := definitionsFile{Permissions: []Permissions{}}
	b.exportUsers(&f)
	return f.Permissions
}

// ListTopicPermissions returns all restrictions at topic exchanges.
func (b *Broker) ListTopicPermissions() []TopicPermissions {
	f := definitionsFile{TopicPermissions: []TopicPermissions{}}
	b.exportUsers(&f)
	return f.TopicPermissions
}

// ListPolicies returns the policies, or the operator policies, in force.
func (b *Broker) ListPolicies(vhost string, operator bool) []Policy {
	list := []Policy{}
	for _, v := range b.chosen(vhost) {
		v.mu.Lock()
		for _, p := range v.policySet(operator).list {
			list = append(list, *p)
		}
		v.mu.Unlock()
	}
	return list
}

// ListVHosts describes virtual hosts by name.
func (b *Broker) ListVHosts() []VHostStatus {
	list := []VHostStatus{}
	for _, v := range b.sortedVHosts() {
		v.mu.Lock()
		list = append(list, VHostStatus{
			VHostOptions: VHostOptions{v.name, v.description, append([]string{}, v.tags...), v.defaultQueueType},
			Queues:       len(v.meta), Exchanges: v.exchanges.len() + 1, Connections: v.connected.Load(),
			Limits: cloneMap(v.limits.values),
		})
		v.mu.Unlock()
	}
	return list
}

// ListParameters returns the runtime parameters: those of virtual hosts, or the
// global ones.
func (b *Broker) ListParameters(global bool) []ParameterStatus {
	var f definitionsFile
	b.exportParameters(&f, "")
	from := f.Parameters
	if global {
		from = f.GlobalParameters
	}
	list := make([]ParameterStatus, len(from))
	for i, p := range from {
		list[i] = ParameterStatus(p)
	}
	return list
}

// Totals are the sums an overview shows.
type Totals struct {
	VHosts      int   `json:"vhosts"`
	Connections int   `json:"connections"`
	Channels    int   `json:"channels"`
	Consumers   int   `json:"consumers"`
	Exchanges   int   `json:"exchanges"`
	Queues      int   `json:"queues"`
	Ready       int   `json:"messages_ready"`
	Unsettled   int   `json:"messages_unacknowledged"`
	Memory      int64 `json:"memory"`
	StartedAt   int64 `json:"started_at"` // Unix ms
	Counters    QueueCounters
}

// Totals counts everything.
func (b *Broker) Totals() Totals {
	sum := Totals{StartedAt: b.startedAt, Memory: b.MemoryUsed()}
	for _, v := range b.vhosts.all() {
		sum.VHosts++
		sum.Exchanges += v.exchanges.len() + 1
		for _, q := range v.queues.all() {
			s := q.Stats()
			sum.Queues++
			sum.Ready += s.Ready
			sum.Unsettled += s.Unsettled
			sum.Consumers += s.Consumers
			sum.Counters.add(&s.QueueCounters)
		}
	}
	for _, c := range b.conns.all() {
		sum.Connections++
		c.mu.Lock()
		sum.Channels += len(c.sessions)
		c.mu.Unlock()
	}
	return sum
}

// add counts the messages of one more queue.
func (c *QueueCounters) add(x *QueueCounters) {
	c.Published += x.Published
	c.Rejected += x.Rejected
	c.Duplicates += x.Duplicates
	c.Delivered += x.Delivered
	c.Got += x.Got
	c.Acknowledged += x.Acknowledged
	c.Redelivered += x.Redelivered
	c.Requeued += x.Requeued
	c.Lapsed += x.Lapsed
	c.Expired += x.Expired
	c.OverLength += x.OverLength
	c.Refused += x.Refused
	c.OverLimit += x.OverLimit
	c.ReadErrors += x.ReadErrors
}
