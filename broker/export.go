package broker

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// definitionsFile is the document that RabbitMQ's management plugin and
// command line export and import, versions 3.x and 4.x.
type definitionsFile struct {
	RabbitVersion    string          `json:"rabbit_version,omitempty"`
	RabbitMQVersion  string          `json:"rabbitmq_version,omitempty"`
	ProductName      string          `json:"product_name,omitempty"`
	Users            []userFile      `json:"users"`
	VHosts           []vhostFile     `json:"vhosts"`
	Permissions      []Permissions   `json:"permissions"`
	TopicPermissions []topicFile     `json:"topic_permissions"`
	Parameters       []parameterFile `json:"parameters"`
	GlobalParameters []parameterFile `json:"global_parameters"`
	Policies         []Policy        `json:"policies"`
	Queues           []queueFile     `json:"queues"`
	Exchanges        []exchangeFile  `json:"exchanges"`
	Bindings         []bindingFile   `json:"bindings"`
}

type userFile struct {
	Name      string   `json:"name"`
	Hash      *string  `json:"password_hash,omitempty"`
	Algorithm string   `json:"hashing_algorithm,omitempty"`
	Scram     string   `json:"hermod_scram,omitempty"` // keys of SCRAM-SHA-256; ours alone
	Password  *string  `json:"password,omitempty"`
	Tags      tagList  `json:"tags"`
	Limits    limitMap `json:"limits"`
}

// tagList reads tags in both of their forms: "a,b" in 3.8 and older, a list
// since.
type tagList []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *tagList) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*l = splitTags(s)
		return nil
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	*l = list
	return nil
}

// MarshalJSON implements json.Marshaler.
func (l tagList) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]string(l))
}

// limitMap reads limits, which are an object, or an empty list if there are
// none.
type limitMap map[string]int64

// UnmarshalJSON implements json.Unmarshaler.
func (l *limitMap) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("[")) {
		return nil
	}
	return json.Unmarshal(b, (*map[string]int64)(l))
}

// MarshalJSON implements json.Marshaler.
func (l limitMap) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]int64(l))
}

type vhostFile struct {
	Name             string         `json:"name"`
	Description      string         `json:"description,omitempty"`
	Tags             tagList        `json:"tags,omitempty"`
	DefaultQueueType string         `json:"default_queue_type,omitempty"`
	Metadata         *vhostMetadata `json:"metadata,omitempty"`
}

type vhostMetadata struct {
	Description      string  `json:"description"`
	Tags             tagList `json:"tags"`
	DefaultQueueType string  `json:"default_queue_type,omitempty"`
}

type topicFile = TopicPermissions

type parameterFile struct {
	Component string          `json:"component,omitempty"`
	VHost     string          `json:"vhost,omitempty"`
	Name      string          `json:"name"`
	Value     json.RawMessage `json:"value"`
}

type queueFile struct {
	Name       string         `json:"name"`
	VHost      string         `json:"vhost"`
	Type       string         `json:"type,omitempty"`
	Durable    bool           `json:"durable"`
	AutoDelete bool           `json:"auto_delete"`
	Arguments  map[string]any `json:"arguments"`
}

type exchangeFile struct {
	Name       string         `json:"name"`
	VHost      string         `json:"vhost"`
	Type       string         `json:"type"`
	Durable    bool           `json:"durable"`
	AutoDelete bool           `json:"auto_delete"`
	Internal   bool           `json:"internal"`
	Arguments  map[string]any `json:"arguments"`
}

type bindingFile struct {
	Source          string         `json:"source"`
	VHost           string         `json:"vhost"`
	Destination     string         `json:"destination"`
	DestinationType string         `json:"destination_type"`
	RoutingKey      string         `json:"routing_key"`
	Arguments       map[string]any `json:"arguments"`
}

// ExportedVersion is the version of RabbitMQ whose format ExportDefinitions
// writes.
const ExportedVersion = "3.13.7"

// ExportDefinitions renders everything durable that is not a message as
// RabbitMQ's definitions.json. With a vhost it renders that one only, without
// users and permissions. Hashes made here are bcrypt, which RabbitMQ does not
// read; imported ones leave as they came.
func (b *Broker) ExportDefinitions(vhost string) ([]byte, error) {
	f := definitionsFile{
		RabbitVersion: ExportedVersion, RabbitMQVersion: ExportedVersion, ProductName: "Hermod",
		Users: []userFile{}, VHosts: []vhostFile{}, Permissions: []Permissions{}, TopicPermissions: []topicFile{},
		Parameters: []parameterFile{}, GlobalParameters: []parameterFile{}, Policies: []Policy{},
		Queues: []queueFile{}, Exchanges: []exchangeFile{}, Bindings: []bindingFile{},
	}
	if vhost == "" {
		b.exportUsers(&f)
	} else if b.vhosts.get(vhost) == nil {
		return nil, noVHost(vhost)
	}
	for _, v := range b.sortedVHosts() {
		if vhost == "" || v.name == vhost {
			v.export(&f)
		}
	}
	b.exportParameters(&f, vhost)
	out, err := json.MarshalIndent(&f, "", "  ")
	if err != nil {
		return nil, errf(Internal, "definitions cannot be encoded: %v", err)
	}
	return append(out, '\n'), nil
}

func (b *Broker) sortedVHosts() []*VHost {
	list := b.vhosts.all()
	slices.SortFunc(list, func(x, y *VHost) int { return strings.Compare(x.name, y.name) })
	return list
}

func (b *Broker) exportUsers(f *definitionsFile) {
	a := &b.auth
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, u := range a.users {
		out := userFile{Name: u.Name, Hash: &u.hash.Text, Algorithm: u.hash.Algorithm, Scram: u.scram.String(), Tags: u.Tags}
		if l := a.limits[u.Name]; l != nil && len(l.values) > 0 {
			out.Limits = limitMap(cloneMap(l.values))
		}
		f.Users = append(f.Users, out)
	}
	for _, p := range a.permissions {
		f.Permissions = append(f.Permissions, p.Permissions)
	}
	for _, p := range a.topics {
		f.TopicPermissions = append(f.TopicPermissions, p.list...)
	}
	slices.SortFunc(f.Users, func(x, y userFile) int { return strings.Compare(x.Name, y.Name) })
	slices.SortFunc(f.Permissions, func(x, y Permissions) int {
		return cmp.Or(strings.Compare(x.VHost, y.VHost), strings.Compare(x.User, y.User))
	})
	slices.SortFunc(f.TopicPermissions, func(x, y topicFile) int {
		return cmp.Or(strings.Compare(x.VHost, y.VHost), strings.Compare(x.User, y.User), strings.Compare(x.Exchange, y.Exchange))
	})
}

func cloneMap(m map[string]int64) map[string]int64 {
	c := make(map[string]int64, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

func (b *Broker) exportParameters(f *definitionsFile, vhost string) {
	b.mu.Lock()
	for key, value := range b.parameters {
		p := parameterFile{Component: key.component, VHost: key.vhost, Name: key.name, Value: value}
		switch {
		case key.vhost == "" && vhost == "":
			p.Component = ""
			f.GlobalParameters = append(f.GlobalParameters, p)
		case key.vhost != "" && (vhost == "" || vhost == key.vhost):
			f.Parameters = append(f.Parameters, p)
		}
	}
	b.mu.Unlock()
	byName := func(x, y parameterFile) int {
		return cmp.Or(strings.Compare(x.VHost, y.VHost), strings.Compare(x.Component, y.Component), strings.Compare(x.Name, y.Name))
	}
	slices.SortFunc(f.Parameters, byName)
	slices.SortFunc(f.GlobalParameters, byName)
}

// export adds a virtual host's topology.
func (v *VHost) export(f *definitionsFile) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f.VHosts = append(f.VHosts, vhostFile{
		Name: v.name, Description: v.description, Tags: v.tags, DefaultQueueType: v.defaultQueueType,
		Metadata: &vhostMetadata{v.description, v.tags, v.defaultQueueType},
	})
	for _, p := range v.policies.list {
		f.Policies = append(f.Policies, *p)
	}
	v.exportParameters(f)
	exchanges := v.exchanges.all()
	slices.SortFunc(exchanges, func(x, y *Exchange) int { return strings.Compare(x.name, y.name) })
	for _, x := range exchanges {
		if !x.durable {
			continue
		}
		if !reserved(x.name) {
			f.Exchanges = append(f.Exchanges, exchangeFile{
				x.name, v.name, x.kind, true, x.autoDelete, x.internal, plainJSON(x.args),
			})
		}
		v.exportBindings(f, x)
	}
	queues := make([]queueFile, 0, len(v.meta))
	for q, m := range v.meta {
		if m.durable {
			queues = append(queues, queueFile{
				q.Name(), v.name, m.declared.Kind.String(), true, m.declared.AutoDelete, plainJSON(m.args),
			})
		}
	}
	slices.SortFunc(queues, func(x, y queueFile) int { return strings.Compare(x.Name, y.Name) })
	f.Queues = append(f.Queues, queues...)
}

func (v *VHost) exportBindings(f *definitionsFile, x *Exchange) {
	list := make([]*binding, 0, len(x.bindings))
	for _, b := range x.bindings {
		if b.durable {
			list = append(list, b)
		}
	}
	slices.SortFunc(list, func(a, b *binding) int { return a.id.compare(b.id) })
	for _, b := range list {
		f.Bindings = append(f.Bindings, bindingFile{
			x.name, v.name, b.id.dest, destinationType(b.id.toExchange), b.id.key, plainJSON(b.args),
		})
	}
}

func destinationType(toExchange bool) string {
	if toExchange {
		return "exchange"
	}
	return "queue"
}

// exportParameters adds what RabbitMQ keeps as parameters: limits and operator
// policies.
func (v *VHost) exportParameters(f *definitionsFile) {
	if len(v.limits.values) > 0 {
		f.Parameters = append(f.Parameters, parameterFile{
			Component: "vhost-limits", VHost: v.name, Name: "limits", Value: mustJSON(v.limits.values),
		})
	}
	for _, p := range v.operatorPolicies.list {
		f.Parameters = append(f.Parameters, parameterFile{
			Component: "operator_policy", VHost: v.name, Name: p.Name, Value: mustJSON(policyValue{
				p.Pattern, p.ApplyTo, p.Priority, p.Definition,
			}),
		})
	}
}

// policyValue is a policy as the value of a parameter.
type policyValue struct {
	Pattern    string                     `json:"pattern"`
	ApplyTo    string                     `json:"apply-to"`
	Priority   int                        `json:"priority"`
	Definition map[string]json.RawMessage `json:"definition"`
}
