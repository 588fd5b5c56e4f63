package admin

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/hermodmq/hermod/broker"
)

type function func(s *Server, r *Request) (*Reply, error)

// changing makes a function out of a change of definitions.
func changing(f func(b *broker.Broker, t *broker.Turn, r *Request, done func(*broker.Turn)) error) function {
	return func(s *Server, r *Request) (*Reply, error) {
		return s.change(func(t *broker.Turn, done func(*broker.Turn)) error { return f(s.node.Core, t, r, done) })
	}
}

// listing makes a function out of a list; arguments choose its columns.
func listing[T any](columns []string, f func(b *broker.Broker, r *Request) ([]T, error)) function {
	return func(s *Server, r *Request) (*Reply, error) {
		list, err := f(s.node.Core, r)
		if err != nil {
			return nil, err
		}
		return table(list, r.Args, columns)
	}
}

type done = func(*broker.Turn)

// inVHost keeps the elements that keep says yes to.
func inVHost[T any](list []T, keep func(T) bool) []T {
	return slices.DeleteFunc(list, func(x T) bool { return !keep(x) })
}

var functions = map[string]function{
	"status": status,

	"cluster_status":   clusterStatus,
	"cluster_join":     clusterJoin,
	"cluster_leave":    clusterLeave,
	"cluster_transfer": clusterTransfer,
	"backup":           backup,

	"add_user": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return b.AddUser(t, r.Args[0], r.Args[1], nil, d)
	}),
	"delete_user": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return b.DeleteUser(t, r.Args[0], d)
	}),
	"change_password": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return b.ChangePassword(t, r.Args[0], r.Args[1], d)
	}),
	"set_user_tags": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return b.SetUserTags(t, r.Args[0], r.Args[1:], d)
	}),
	"list_users": listing([]string{"name", "tags"}, func(b *broker.Broker, _ *Request) ([]broker.UserStatus, error) {
		return b.ListUsers(), nil
	}),

	"add_vhost": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return b.AddVHost(t, broker.VHostOptions{Name: r.Args[0]}, d)
	}),
	"delete_vhost": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return b.DeleteVHost(t, r.Args[0], d)
	}),
	"list_vhosts": listing([]string{"name"}, func(b *broker.Broker, _ *Request) ([]broker.VHostStatus, error) {
		return b.ListVHosts(), nil
	}),
	"set_vhost_limits": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return eachLimit(r.Args[0], d, func(name string, n int64, d done) error {
			return b.SetVHostLimit(t, r.VHost, name, n, d)
		})
	}),
	"clear_vhost_limits": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return eachLimit(`{"max-connections":-1,"max-queues":-1}`, d, func(name string, n int64, d done) error {
			return b.SetVHostLimit(t, r.VHost, name, n, d)
		})
	}),
	"set_user_limits": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return eachLimit(r.Args[1], d, func(name string, n int64, d done) error {
			return b.SetUserLimit(t, r.Args[0], name, n, d)
		})
	}),
	"clear_user_limits": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return eachLimit(`{"max-connections":-1,"max-channels":-1}`, d, func(name string, n int64, d done) error {
			return b.SetUserLimit(t, r.Args[0], name, n, d)
		})
	}),

	"set_permissions": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return b.SetPermissions(t, broker.Permissions{User: r.Args[0], VHost: r.VHost,
			Configure: r.Args[1], Write: r.Args[2], Read: r.Args[3]}, d)
	}),
	"clear_permissions": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return b.ClearPermissions(t, r.Args[0], r.VHost, d)
	}),
	"list_permissions": listing([]string{"user", "configure", "write", "read"}, func(b *broker.Broker, r *Request) ([]broker.Permissions, error) {
		return inVHost(b.ListPermissions(), func(p broker.Permissions) bool { return p.VHost == r.VHost }), nil
	}),
	"set_topic_permissions": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return b.SetTopicPermissions(t, broker.TopicPermissions{User: r.Args[0], VHost: r.VHost,
			Exchange: r.Args[1], Write: r.Args[2], Read: r.Args[3]}, d)
	}),
	"clear_topic_permissions": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return b.ClearTopicPermissions(t, r.Args[0], r.VHost, "", d)
	}),
	"list_topic_permissions": listing([]string{"user", "exchange", "write", "read"}, func(b *broker.Broker, r *Request) ([]broker.TopicPermissions, error) {
		return inVHost(b.ListTopicPermissions(), func(p broker.TopicPermissions) bool { return p.VHost == r.VHost }), nil
	}),

	"set_policy": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		p, err := policyOf(r)
		if err != nil {
			return err
		}
		return b.SetPolicy(t, p, d)
	}),
	"clear_policy": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return b.ClearPolicy(t, r.VHost, r.Args[0], d)
	}),
	"list_policies": listing(policyColumns, func(b *broker.Broker, r *Request) ([]broker.Policy, error) {
		return b.ListPolicies(r.VHost, false), nil
	}),
	"set_operator_policy": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		p, err := policyOf(r)
		if err != nil {
			return err
		}
		return b.SetOperatorPolicy(t, p, d)
	}),
	"clear_operator_policy": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return b.ClearOperatorPolicy(t, r.VHost, r.Args[0], d)
	}),
	"list_operator_policies": listing(policyColumns, func(b *broker.Broker, r *Request) ([]broker.Policy, error) {
		return b.ListPolicies(r.VHost, true), nil
	}),

	"list_queues": listing([]string{"name", "messages"}, func(b *broker.Broker, r *Request) ([]broker.QueueStatus, error) {
		return b.ListQueues(r.VHost), nil
	}),
	"list_exchanges": listing([]string{"name", "type"}, func(b *broker.Broker, r *Request) ([]broker.ExchangeStatus, error) {
		return b.ListExchanges(r.VHost), nil
	}),
	"list_bindings": listing([]string{"source", "destination", "destination_type", "routing_key"}, func(b *broker.Broker, r *Request) ([]broker.BindingStatus, error) {
		return b.ListBindings(r.VHost), nil
	}),
	"list_connections": listing([]string{"name", "user", "vhost", "protocol"}, func(b *broker.Broker, _ *Request) ([]broker.ConnectionStatus, error) {
		return b.ListConnections(), nil
	}),
	"list_channels": listing([]string{"connection", "number", "user"}, func(b *broker.Broker, _ *Request) ([]broker.ChannelStatus, error) {
		return b.ListChannels(), nil
	}),
	"list_consumers": listing([]string{"queue", "consumer_tag", "connection", "ack_required", "prefetch_count"}, func(b *broker.Broker, r *Request) ([]broker.ConsumerStatus, error) {
		return b.ListConsumers(r.VHost), nil
	}),
	"list_mqtt_sessions":    listMQTTSessions,
	"delete_mqtt_session":   deleteMQTTSession,
	"close_connection":      closeConnection,
	"close_all_connections": closeAll,

	"delete_queue": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return b.DeleteQueue(t, r.VHost, r.Args[0], d)
	}),
	"purge_queue": changing(func(b *broker.Broker, t *broker.Turn, r *Request, d done) error {
		return b.PurgeQueue(t, r.VHost, r.Args[0], d)
	}),
	"pause_queue":  pausing(true),
	"resume_queue": pausing(false),

	"add_access_key":    addAccessKey,
	"delete_access_key": deleteAccessKey,
	"list_access_keys":  listAccessKeys,

	"import_definitions": importDefinitions,
	"export_definitions": func(s *Server, _ *Request) (*Reply, error) {
		body, err := s.node.Core.ExportDefinitions("")
		return &Reply{Body: body}, err
	},
	"set_alarm": setAlarm,
}

var policyColumns = []string{"name", "pattern", "apply-to", "definition", "priority"}

func status(s *Server, _ *Request) (*Reply, error) {
	b, st := s.node.Core, s.node.Store.Stats()
	alarms := "none"
	if a := b.Alarms(); a != 0 {
		alarms = a.String()
	}
	return &Reply{Columns: []string{"key", "value"}, Rows: [][]any{
		{"node", b.Node()},
		{"version", s.node.Version},
		{"uptime", time.Since(s.started).Round(time.Second).String()},
		{"alarms", alarms},
		{"connections", s.node.Server.Connections()},
		{"memory_messages_bytes", b.MemoryUsed()},
		{"store_log_bytes", st.LogBytes},
		{"store_segments", st.Segments},
		{"store_segment_bytes", st.SegmentBytes},
		{"store_live_bytes", st.LiveBytes},
		{"store_lost_messages", st.Lost},
	}}, nil
}

// eachLimit applies a JSON object of limits; d runs when all are stored.
func eachLimit(text string, d done, set func(name string, n int64, d done) error) error {
	limits := map[string]int64{}
	if err := json.Unmarshal([]byte(text), &limits); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	if len(limits) == 0 {
		return fmt.Errorf("limits: none given")
	}
	left := len(limits)
	for name, n := range limits {
		// Changes commit in order, so the last one to be asked for is the last
		// to be told.
		left--
		after := d
		if left > 0 {
			after = nil
		}
		if err := set(name, n, after); err != nil {
			return err
		}
	}
	return nil
}

func policyOf(r *Request) (broker.Policy, error) {
	p := broker.Policy{VHost: r.VHost, Name: r.Args[0], Pattern: r.Args[1], Priority: r.Priority, ApplyTo: r.ApplyTo}
	if err := json.Unmarshal([]byte(r.Args[2]), &p.Definition); err != nil {
		return p, fmt.Errorf("definition: %w", err)
	}
	return p, nil
}

func reason(args []string) string {
	if len(args) > 1 && args[1] != "" {
		return args[1]
	}
	return "Closed by an operator"
}

func closeConnection(s *Server, r *Request) (*Reply, error) {
	if s.node.Core.CloseConnectionNamed(r.Args[0], reason(r.Args)) > 0 {
		return nil, nil
	}
	id, err := strconv.ParseUint(r.Args[0], 10, 64)
	if err != nil || !s.node.Core.CloseConnection(id, reason(r.Args)) {
		return nil, fmt.Errorf("no connection %q", r.Args[0])
	}
	return nil, nil
}

func closeAll(s *Server, r *Request) (*Reply, error) {
	for _, c := range s.node.Core.ListConnections() {
		s.node.Core.CloseConnection(c.ID, r.Args[0])
	}
	return nil, nil
}

func pausing(on bool) function {
	return func(s *Server, r *Request) (*Reply, error) {
		return nil, s.turn(func(t *broker.Turn) error { return s.node.Core.PauseQueue(t, r.VHost, r.Args[0], on) })
	}
}

func setAlarm(s *Server, r *Request) (*Reply, error) {
	alarm, ok := map[string]broker.Alarm{"memory": broker.AlarmMemory, "disk": broker.AlarmDisk}[r.Args[0]]
	if !ok || r.Args[1] != "on" && r.Args[1] != "off" {
		return nil, fmt.Errorf("want memory or disk, and on or off")
	}
	return nil, s.turn(func(t *broker.Turn) error {
		s.node.Core.HoldAlarm(t, alarm, r.Args[1] == "on")
		return nil
	})
}
