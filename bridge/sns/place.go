package sns

import (
	"strings"
	"sync"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/broker"
)

// hiddenPrefix begins the names of the hidden queues.
const hiddenPrefix = "sns-subscription-"

// place is where the messages of a subscription go: straight into an SQS queue
// or into its hidden queue. Service.placing guards the places.
type place struct {
	binding broker.Binding
	vhost   *broker.VHost
	direct  *broker.Queue // nil: the hidden queue
	courier *courier
}

// places maps subscriptions to places.
type places struct {
	mu sync.Mutex
	of map[string]*place
}

func hiddenName(sub *subscription) string { return hiddenPrefix + sub.id }

// system runs f with a session that may do everything in a virtual host.
func (s *Service) system(v *broker.VHost, f func(*broker.Session) error) error {
	return s.endpoint.System(v).Do(f)
}

// settle makes bindings and hidden queue of a subscription what they have to
// be: it is called after every change of the subscription and when queues come
// and go. done (which may be nil) runs when all of it is durable.
func (s *Service) settle(t *broker.Turn, sub *subscription, topic *topic, done func(*broker.Turn)) {
	s.places.mu.Lock()
	err := s.settleLocked(t, sub, topic)
	s.places.mu.Unlock()
	if err != nil {
		s.log.Error("subscription cannot be set up", "subscription", sub.ARN, "error", err)
	}
	if done != nil {
		s.core.StoreFacts(nil, done)
	}
}

func (s *Service) settleLocked(t *broker.Turn, sub *subscription, topic *topic) error {
	have := s.places.of[sub.ARN]
	if sub.Pending {
		return nil
	}
	want := &place{vhost: topic.vhost}
	want.binding = broker.Binding{Source: broker.TopicExchange, Key: topic.name}
	if q := s.directQueue(sub, topic); q != nil {
		want.direct = q
		want.binding.Destination, want.binding.Args = q.Name(), sub.formArgs()
	} else {
		want.binding.Destination, want.binding.Args = hiddenName(sub), sub.filterArgs()
	}
	if have != nil && have.direct == want.direct && sameBinding(have.binding, want.binding) {
		return nil
	}
	if want.direct == nil {
		if err := s.openHidden(t, sub, want, have); err != nil {
			return err
		}
	} else if have != nil {
		if want.courier = have.courier; want.courier != nil {
			want.courier.hurry() // it delivers what is left
		}
	}
	err := s.system(want.vhost, func(session *broker.Session) error {
		if err := session.Bind(t, want.binding, nil); err != nil {
			return err
		}
		if have != nil && !sameBinding(have.binding, want.binding) {
			return session.Unbind(t, have.binding, nil)
		}
		return nil
	})
	s.places.of[sub.ARN] = want
	return err
}

func sameBinding(a, b broker.Binding) bool {
	if a.Destination != b.Destination || a.Key != b.Key || len(a.Args) != len(b.Args) {
		return false
	}
	for i := range a.Args {
		if a.Args[i] != b.Args[i] {
			return false
		}
	}
	return true
}

// directQueue is the queue of an SQS subscription if it is there, in the
// topic's virtual host, and lets the topic send.
func (s *Service) directQueue(sub *subscription, topic *topic) *broker.Queue {
	if sub.Protocol != "sqs" {
		return nil
	}
	a, _, ok := aws.ParseARN(sub.Endpoint)
	if !ok || s.endpoint.VHostOf(a.Account) != topic.vhost {
		return nil
	}
	q, ok := s.opt.Queues.Resolve(a.Account, a.Resource)
	if !ok || !s.opt.Queues.Allows(sub.Endpoint, topic.ARN, topic.account) {
		return nil
	}
	return q
}

// openHidden makes the hidden queue and starts its courier.
func (s *Service) openHidden(t *broker.Turn, sub *subscription, want, have *place) error {
	err := s.system(want.vhost, func(session *broker.Session) error {
		_, err := session.DeclareQueue(t, broker.QueueDeclare{
			Name: hiddenName(sub), Durable: true, Args: broker.Table{{Name: "x-hermod-subscription", Value: true}},
		}, nil)
		return err
	})
	if err != nil {
		return err
	}
	if have != nil && have.courier != nil {
		want.courier = have.courier
		return nil
	}
	want.courier, err = s.openCourier(t, sub.ARN, want.vhost, hiddenName(sub))
	return err
}

// remove takes a subscription's bindings and hidden queue away.
func (s *Service) remove(t *broker.Turn, sub *subscription) {
	s.places.mu.Lock()
	p := s.places.of[sub.ARN]
	delete(s.places.of, sub.ARN)
	s.places.mu.Unlock()
	if p == nil {
		return
	}
	if p.courier != nil {
		p.courier.close(t)
	}
	err := s.system(p.vhost, func(session *broker.Session) error {
		if err := session.Unbind(t, p.binding, nil); err != nil {
			return err
		}
		if p.vhost.Queue(hiddenName(sub)) == nil {
			return nil
		}
		_, err := session.DeleteQueue(t, hiddenName(sub), false, false, nil)
		return err
	})
	if err != nil {
		s.log.Error("subscription cannot be taken down", "subscription", sub.ARN, "error", err)
	}
}

// stray reports whether the place of an SQS subscription does not fit any more
// because its queue came or went.
func (s *Service) stray(sub *subscription, topic *topic) bool {
	if sub.Pending || sub.Protocol != "sqs" {
		return false
	}
	s.places.mu.Lock()
	p := s.places.of[sub.ARN]
	s.places.mu.Unlock()
	return p == nil || p.direct != s.directQueue(sub, topic)
}

// follow puts the subscriptions of a topic right whose queues are gone, so that
// nothing published from now on misses them.
func (s *Service) follow(t *broker.Turn, topic *topic) {
	for _, sub := range topic.subscriptions() {
		if sub.Protocol != "sqs" || sub.Pending {
			continue
		}
		s.places.mu.Lock()
		p := s.places.of[sub.ARN]
		gone := p == nil || p.direct != nil && p.vhost.Queue(p.direct.Name()) != p.direct
		s.places.mu.Unlock()
		if gone {
			s.settle(t, sub, topic, nil)
		}
	}
}

// retire ends couriers that have nothing left to do because their subscription
// goes straight into its queue again.
func (s *Service) retire(t *broker.Turn) {
	s.places.mu.Lock()
	var done []*place
	for _, p := range s.places.of {
		if p.direct != nil && p.courier != nil && p.courier.idle() {
			done = append(done, &place{vhost: p.vhost, courier: p.courier})
			p.courier = nil
		}
	}
	s.places.mu.Unlock()
	for _, p := range done {
		p.courier.close(t)
		_ = s.system(p.vhost, func(session *broker.Session) error {
			_, err := session.DeleteQueue(t, p.courier.queue, true, true, nil)
			return err
		})
	}
}

// sweep is the part of Start that removes bindings and hidden queues that no
// subscription needs: a crash came between two steps.
func (s *Service) sweep(t *broker.Turn, v *broker.VHost) {
	wanted := make(map[string]bool)
	var bindings []broker.Binding
	s.places.mu.Lock()
	for _, p := range s.places.of {
		if p.vhost == v {
			bindings = append(bindings, p.binding)
			wanted[p.binding.Destination] = true
		}
	}
	s.places.mu.Unlock()
	for _, b := range s.core.ListBindings(v.Name()) {
		if b.Source != broker.TopicExchange || b.DestinationType != "queue" {
			continue
		}
		_, formed := b.Args.Get(broker.FormArgument)
		if !formed && !strings.HasPrefix(b.Destination, hiddenPrefix) {
			continue
		}
		binding := broker.Binding{Source: b.Source, Destination: b.Destination, Key: b.RoutingKey, Args: b.Args}
		keep := false
		for _, w := range bindings {
			keep = keep || sameBinding(w, binding)
		}
		if !keep {
			_ = s.system(v, func(session *broker.Session) error { return session.Unbind(t, binding, nil) })
		}
	}
	for _, q := range s.core.ListQueues(v.Name()) {
		if strings.HasPrefix(q.Name, hiddenPrefix) && !wanted[q.Name] && !s.owned(q.Name) {
			_ = s.system(v, func(session *broker.Session) error {
				_, err := session.DeleteQueue(t, q.Name, false, false, nil)
				return err
			})
		}
	}
}

// owned reports whether a hidden queue belongs to a subscription.
func (s *Service) owned(queue string) bool {
	id := strings.TrimPrefix(queue, hiddenPrefix)
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, sub := range s.subs {
		if sub.id == id {
			return true
		}
	}
	return false
}
