package broker

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// maxDefinitions bounds a file of definitions, in bytes.
const maxDefinitions = 256 << 20

// ImportDefinitions adds what a definitions.json of RabbitMQ 3.x or 4.x (or of
// ExportDefinitions) describes. What exists already stays as it is, users,
// permissions, policies and parameters excepted, which are replaced. Objects
// without a vhost, as exports of a single virtual host have them, go to vhost.
//
// The file is read as a whole before anything happens; if an object is then
// refused, those before it stay.
func (b *Broker) ImportDefinitions(t *Turn, data []byte, vhost string, done func(*Turn)) error {
	if len(data) > maxDefinitions {
		return errf(Invalid, "definitions are larger than %d bytes", maxDefinitions)
	}
	var f definitionsFile
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&f); err != nil {
		return errf(Invalid, "definitions are not valid: %v", err)
	}
	if vhost == "" {
		vhost = b.options.DefaultVHost
	}
	in := importing{broker: b, turn: t, vhost: vhost, file: &f}
	for _, step := range []func() error{
		in.vhosts, in.users, in.permissions, in.parameters, in.policies, in.topology,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	b.afterCommits(t, done)
	return nil
}

// importing is the state of ImportDefinitions.
type importing struct {
	broker *Broker
	turn   *Turn
	vhost  string
	file   *definitionsFile
}

// within says which object an error is about, keeping its kind.
func within(err error, what, name string) error {
	if err == nil {
		return nil
	}
	kind := Internal
	if e, ok := err.(*Error); ok {
		kind = e.Kind
	}
	return errf(kind, "%s '%s': %v", what, name, err)
}

func (in *importing) in(vhost *string) {
	if *vhost == "" {
		*vhost = in.vhost
	}
}

func (in *importing) vhosts() error {
	for _, v := range in.file.VHosts {
		o := VHostOptions{Name: v.Name, Description: v.Description, Tags: v.Tags, DefaultQueueType: v.DefaultQueueType}
		if m := v.Metadata; m != nil {
			if o.Description == "" {
				o.Description = m.Description
			}
			if o.Tags == nil {
				o.Tags = m.Tags
			}
			if o.DefaultQueueType == "" {
				o.DefaultQueueType = m.DefaultQueueType
			}
		}
		if err := in.broker.AddVHost(in.turn, o, nil); err != nil {
			return within(err, "vhost", v.Name)
		}
	}
	return nil
}

func (in *importing) users() error {
	b, t := in.broker, in.turn
	for _, u := range in.file.Users {
		var err error
		switch {
		case u.Hash != nil:
			err = b.AddUserHash(t, u.Name, u.Algorithm, *u.Hash, u.Tags, nil)
			if err == nil && u.Scram != "" {
				err = b.SetUserScram(t, u.Name, u.Scram, nil)
			}
		case u.Password != nil:
			err = b.AddUser(t, u.Name, *u.Password, u.Tags, nil)
		default:
			err = b.AddUser(t, u.Name, "", u.Tags, nil)
		}
		for limit, n := range u.Limits {
			if err == nil {
				err = b.SetUserLimit(t, u.Name, limit, n, nil)
			}
		}
		if err != nil {
			return within(err, "user", u.Name)
		}
	}
	return nil
}

func (in *importing) permissions() error {
	for _, p := range in.file.Permissions {
		in.in(&p.VHost)
		if err := in.broker.SetPermissions(in.turn, p, nil); err != nil {
			return within(err, "permissions of user", p.User)
		}
	}
	for _, p := range in.file.TopicPermissions {
		in.in(&p.VHost)
		if err := in.broker.SetTopicPermissions(in.turn, p, nil); err != nil {
			return within(err, "topic permissions of user", p.User)
		}
	}
	return nil
}

func (in *importing) parameters() error {
	for _, p := range in.file.Parameters {
		in.in(&p.VHost)
		if err := in.parameter(p); err != nil {
			return within(err, "parameter", p.Name)
		}
	}
	for _, p := range in.file.GlobalParameters {
		if err := in.broker.SetParameter(in.turn, "", "", p.Name, p.Value, nil); err != nil {
			return within(err, "global parameter", p.Name)
		}
	}
	return nil
}

func (in *importing) parameter(p parameterFile) error {
	b, t := in.broker, in.turn
	switch p.Component {
	case "vhost-limits":
		var limits limitMap
		if err := json.Unmarshal(p.Value, &limits); err != nil {
			return errf(Invalid, "%v", err)
		}
		for limit, n := range limits {
			if err := b.SetVHostLimit(t, p.VHost, limit, n, nil); err != nil {
				return err
			}
		}
		return nil
	case "operator_policy":
		var val policyValue
		if err := json.Unmarshal(p.Value, &val); err != nil {
			return errf(Invalid, "%v", err)
		}
		return b.SetOperatorPolicy(t, Policy{
			VHost: p.VHost, Name: p.Name, Pattern: val.Pattern, ApplyTo: val.ApplyTo,
			Priority: val.Priority, Definition: val.Definition,
		}, nil)
	}
	return b.SetParameter(t, p.Component, p.VHost, p.Name, p.Value, nil)
}

func (in *importing) policies() error {
	for _, p := range in.file.Policies {
		in.in(&p.VHost)
		if err := in.broker.SetPolicy(in.turn, p, nil); err != nil {
			return within(err, "policy", p.Name)
		}
	}
	return nil
}

// topology declares exchanges, queues and bindings, each virtual host under
// one lock.
func (in *importing) topology() error {
	steps := make(map[string][]func(v *VHost, c *change) error)
	add := func(vhost string, f func(v *VHost, c *change) error) { steps[vhost] = append(steps[vhost], f) }
	for _, x := range in.file.Exchanges {
		in.in(&x.VHost)
		add(x.VHost, x.declare)
	}
	for _, q := range in.file.Queues {
		in.in(&q.VHost)
		add(q.VHost, q.declare)
	}
	for _, b := range in.file.Bindings {
		in.in(&b.VHost)
		add(b.VHost, b.bind)
	}
	for name, list := range steps {
		v := in.broker.vhosts.get(name)
		if v == nil {
			return noVHost(name)
		}
		if err := in.declare(v, list); err != nil {
			return err
		}
	}
	return nil
}

// declare runs the steps; what was done before one fails is stored.
func (in *importing) declare(v *VHost, steps []func(v *VHost, c *change) error) error {
	var failed error
	err := v.change(in.turn, nil, func(c *change) error {
		c.eager = true
		for _, step := range steps {
			if failed = step(v, c); failed != nil {
				break
			}
		}
		return nil
	})
	if failed != nil {
		return failed
	}
	return err
}

func (x exchangeFile) declare(v *VHost, c *change) error {
	if x.Name == "" || v.exchange(x.Name) != nil {
		return nil
	}
	args, err := TableFromPlain(x.Arguments)
	if err == nil {
		err = v.declareExchange(c, ExchangeDeclare{
			Name: x.Name, Type: x.Type, Durable: x.Durable, AutoDelete: x.AutoDelete, Internal: x.Internal, Args: args,
		}, false)
	}
	return within(err, "exchange", x.Name)
}

func (q queueFile) declare(v *VHost, c *change) error {
	if v.queue(q.Name) != nil {
		return nil
	}
	args, err := TableFromPlain(q.Arguments)
	if err == nil && q.Name == "" {
		err = badText("queue name")
	}
	// The type decides, not what the virtual host would inject now.
	if kind, known := parseQueueType(q.Type); known && (kind != KindClassic || v.fallbackQueueType() != KindClassic) {
		if _, has := args.Get("x-queue-type"); !has {
			args = append(args, Field{Name: "x-queue-type", Value: q.Type})
		}
	}
	if err == nil {
		_, err = v.declareQueue(c, QueueDeclare{
			Name: q.Name, Durable: q.Durable, AutoDelete: q.AutoDelete, Args: args,
		}, nil)
	}
	return within(err, "queue", q.Name)
}

func (b bindingFile) bind(v *VHost, c *change) error {
	args, err := TableFromPlain(b.Arguments)
	d := Binding{Source: b.Source, Destination: b.Destination, Key: b.RoutingKey, Args: args}
	switch b.DestinationType {
	case "queue", "":
	case "exchange":
		d.ToExchange = true
	default:
		err = errf(Invalid, "unknown destination type '%s'", b.DestinationType)
	}
	if err == nil && b.Source != "" { // the default exchange's bindings are implied
		err = v.bind(c, d, nil)
	}
	return within(err, "binding", fmt.Sprintf("%s -> %s (%s)", b.Source, b.Destination, b.RoutingKey))
}
