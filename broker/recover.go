package broker

import (
	"encoding/json"
	"fmt"

	"github.com/hermodmq/hermod/broker/password"
)

// Recover loads everything from the store. An empty store gets the default
// virtual host and user. It is called once, before the broker serves.
func (b *Broker) Recover(t *Turn) error {
	rec, err := b.store.Recover()
	if err != nil {
		return err
	}
	b.now.Store(t.Now)
	if rec.NextLane > 0 {
		b.lanes.Store(uint64(rec.NextLane) - 1)
	}
	r := recovery{broker: b, turn: t, byKind: make(map[string][]Definition), lanes: make(map[LaneID]LaneState)}
	for _, d := range rec.Definitions {
		r.byKind[d.Kind] = append(r.byKind[d.Kind], d)
	}
	for _, l := range rec.Lanes {
		r.lanes[l.Lane] = l
	}
	if err := r.run(); err != nil {
		return err
	}
	if len(r.byKind[kindVHost]) == 0 {
		return b.seed(t)
	}
	return nil
}

// recovery is the state of Recover. Nobody else uses the broker meanwhile.
type recovery struct {
	broker  *Broker
	turn    *Turn
	byKind  map[string][]Definition
	lanes   map[LaneID]LaneState
	orphans change

	retired bool                // the last stop was a clean one
	handed  map[string][]uint64 // then: marks of queues, by the key of their definition
}

func (r *recovery) run() error {
	r.orphans = change{broker: r.broker, turn: r.turn}
	if err := r.retirement(); err != nil {
		return err
	}
	steps := []struct {
		kind  string
		parts int
		load  func(key []string, d Definition) error
	}{
		{kindVHost, 1, r.vhost},
		{kindUser, 1, r.user},
		{kindPermission, 2, r.permission},
		{kindTopicPermission, 3, r.topicPermission},
		{kindUserLimit, 2, r.userLimit},
		{kindLimit, 2, r.limit},
		{kindPolicy, 2, r.policy},
		{kindOperatorPolicy, 2, r.operatorPolicy},
		{kindParameter, 3, r.parameter},
		{kindExchange, 2, r.exchange},
		{kindQueue, 2, r.queue},
		{kindBinding, 6, r.binding},
	}
	for _, s := range steps {
		for _, d := range r.byKind[s.kind] {
			key, err := splitKey(d.Key, s.parts)
			if err == nil {
				err = s.load(key, d)
			}
			if err != nil {
				return fmt.Errorf("broker: recover %s %q: %w", s.kind, d.Key, err)
			}
		}
	}
	for _, d := range r.byKind[retainedKind] {
		if err := r.broker.recoverRetained(d.Key, d.Value); err != nil {
			return fmt.Errorf("broker: recover retained message %q: %w", d.Key, err)
		}
	}
	r.broker.recoverFacts(r.byKind)
	r.dedups()
	r.prepared()
	r.dropLanes()
	r.orphans.store(nil)
	return nil
}

// orphan forgets a definition that refers to something that is gone: a crash
// came between the batches of a large deletion.
func (r *recovery) orphan(d Definition) error {
	r.orphans.remove(d.Kind, d.Key)
	return nil
}

// dropLanes frees what belongs to no queue.
func (r *recovery) dropLanes() {
	used := make(map[LaneID]bool)
	for _, v := range r.broker.vhosts.all() {
		for _, m := range v.meta {
			for i := LaneID(0); i < laneSpan(m.declared); i++ {
				used[m.lane+i] = true
			}
		}
	}
	for _, v := range r.broker.vhosts.all() {
		for _, p := range v.prepared.byID {
			used[p.lane] = true
		}
	}
	var trims []StoreTrim
	for id := range r.lanes {
		if !used[id] {
			trims = append(trims, StoreTrim{Lane: id, Drop: true})
		}
	}
	if len(trims) > 0 {
		r.broker.store.Append(&Batch{Trims: trims})
	}
}

func (r *recovery) vhost(key []string, d Definition) error {
	var val vhostValue
	if err := json.Unmarshal(d.Value, &val); err != nil {
		return err
	}
	v := newVHost(r.broker, key[0])
	v.description, v.tags, v.defaultQueueType = val.Description, val.Tags, val.DefaultQueueType
	r.broker.vhosts.put(v.name, v)
	return nil
}

func (r *recovery) user(key []string, d Definition) error {
	var val userValue
	if err := json.Unmarshal(d.Value, &val); err != nil {
		return err
	}
	hash, err := password.Parse(val.Algorithm, val.Hash)
	if err != nil {
		return err
	}
	scram, err := password.ParseScram(val.Scram)
	if err != nil {
		return err
	}
	r.broker.auth.users[key[0]] = &account{User: User{Name: key[0], Tags: val.Tags}, hash: hash, scram: scram}
	return nil
}

func (r *recovery) permission(key []string, d Definition) error {
	var p Permissions
	if err := json.Unmarshal(d.Value, &p); err != nil {
		return err
	}
	p.User, p.VHost = key[0], key[1]
	if r.broker.vhosts.get(p.VHost) == nil || r.broker.auth.users[p.User] == nil {
		return r.orphan(d)
	}
	c, err := compile(p)
	if err != nil {
		return err
	}
	r.broker.auth.permissions[userVHost{p.User, p.VHost}] = c
	return nil
}

func (r *recovery) topicPermission(key []string, d Definition) error {
	var p TopicPermissions
	if err := json.Unmarshal(d.Value, &p); err != nil {
		return err
	}
	p.User, p.VHost, p.Exchange = key[0], key[1], key[2]
	if r.broker.vhosts.get(p.VHost) == nil || r.broker.auth.users[p.User] == nil {
		return r.orphan(d)
	}
	r.broker.auth.putTopic(p)
	return nil
}

func (r *recovery) userLimit(key []string, d Definition) error {
	var n int64
	if err := json.Unmarshal(d.Value, &n); err != nil {
		return err
	}
	r.broker.auth.setLimit(key[0], key[1], n)
	return nil
}

func (r *recovery) limit(key []string, d Definition) error {
	v := r.broker.vhosts.get(key[0])
	if v == nil {
		return r.orphan(d)
	}
	var n int64
	if err := json.Unmarshal(d.Value, &n); err != nil {
		return err
	}
	v.limits.set(key[1], n)
	return nil
}

func (r *recovery) policy(key []string, d Definition) error { return r.anyPolicy(key, d, false) }

func (r *recovery) operatorPolicy(key []string, d Definition) error { return r.anyPolicy(key, d, true) }

func (r *recovery) anyPolicy(key []string, d Definition, operator bool) error {
	v := r.broker.vhosts.get(key[0])
	if v == nil {
		return r.orphan(d)
	}
	p := new(Policy)
	if err := json.Unmarshal(d.Value, p); err != nil {
		return err
	}
	p.VHost, p.Name = key[0], key[1]
	if err := p.compile(operator); err != nil {
		return err
	}
	v.policySet(operator).put(p)
	return nil
}

func (r *recovery) parameter(key []string, d Definition) error {
	r.broker.parameters[parameterKey{key[0], key[1], key[2]}] = d.Value
	return nil
}

func (r *recovery) exchange(key []string, d Definition) error {
	v := r.broker.vhosts.get(key[0])
	if v == nil {
		return r.orphan(d)
	}
	var val exchangeValue
	if err := json.Unmarshal(d.Value, &val); err != nil {
		return err
	}
	args, err := tableFromJSON(val.Args, 0)
	if err != nil {
		return err
	}
	if _, err := newRouter(val.Type, args); err != nil {
		return err
	}
	x := newExchange(v, ExchangeDeclare{
		Name: key[1], Type: val.Type, Durable: true, AutoDelete: val.AutoDelete, Internal: val.Internal, Args: args,
	})
	x.policy = v.policies.find(applyExchanges, x.name)
	x.configure()
	v.exchanges.put(x.name, x)
	return nil
}

func (r *recovery) queue(key []string, d Definition) error {
	v := r.broker.vhosts.get(key[0])
	if v == nil {
		return r.orphan(d)
	}
	var val queueValue
	if err := json.Unmarshal(d.Value, &val); err != nil {
		return err
	}
	args, err := tableFromJSON(val.Args, 0)
	if err != nil {
		return err
	}
	decl := QueueDeclare{Name: key[1], Durable: true, AutoDelete: val.AutoDelete, Args: args, DeadLetters: val.DeadLetters}
	cfg, err := configOf(v.queueText(decl.Name), decl)
	if err != nil {
		return err
	}
	m, err := v.addQueue(r.turn, decl, cfg, val.Lane, nil)
	if err != nil {
		return err
	}
	v.showQueue(m.queue, nil)
	if end := uint64(val.Lane + laneSpan(cfg) - 1); end > r.broker.lanes.Load() {
		r.broker.lanes.Store(end)
	}
	m.queue.recover(r.turn, r.lanes, r.marks(d.Key))
	return nil
}

func (r *recovery) binding(key []string, d Definition) error {
	v := r.broker.vhosts.get(key[0])
	if v == nil {
		return r.orphan(d)
	}
	var val bindingValue
	if err := json.Unmarshal(d.Value, &val); err != nil {
		return err
	}
	args, err := tableFromJSON(val.Args, 0)
	if err != nil {
		return err
	}
	b := Binding{Source: key[1], ToExchange: key[2] == "e", Destination: key[3], Key: key[4], Args: args}
	if _, _, _, err := v.ends(b, nil); err != nil {
		return r.orphan(d)
	}
	// bind records the definition again; it is there already.
	c := change{broker: r.broker, turn: r.turn}
	return v.bind(&c, b, nil)
}

// seed gives an empty store what a new installation has.
func (b *Broker) seed(t *Turn) error {
	if err := b.AddVHost(t, VHostOptions{Name: b.options.DefaultVHost, Description: "Default virtual host"}, nil); err != nil {
		return err
	}
	user := b.options.DefaultUser
	if user == "" {
		return nil
	}
	if err := b.AddUser(t, user, b.options.DefaultPassword, []string{TagAdministrator}, nil); err != nil {
		return err
	}
	return b.SetPermissions(t, Permissions{
		User: user, VHost: b.options.DefaultVHost, Configure: ".*", Write: ".*", Read: ".*",
	}, nil)
}
