package broker

// subscriptionArgument marks, in a declaration, the queue of a subscription to
// topics: no consumer of wildcards reads it. topicArgument, selectorArgument and
// noLocalArgument say what a durable one is for.
const (
	subscriptionArgument = "x-hermod-subscription"
	topicArgument        = "x-hermod-topic"
	selectorArgument     = "x-hermod-selector"
	noLocalArgument      = "x-hermod-no-local" // only if true
)

// MarkSubscription makes d the declaration of a queue that is the inbox of one
// subscription to topics: names with wildcards never stand for it.
func MarkSubscription(d *QueueDeclare) {
	d.Args = append(cloneTable(d.Args), Field{Name: subscriptionArgument, Value: true})
}

// Durable is a durable subscription of JMS: its identity is the client id and
// the name, its queue is DurableSubscription's.
type Durable struct {
	ClientID string
	Name     string
	Pattern  string // of the topic: Destination.Pattern
	Selector string // "" for none; the listener applies it
	NoLocal  bool   // not what its own connection sends; the listener applies it
	Args     Table  // more arguments of the queue

	DeadLetters string // see QueueDeclare
}

// OpenDurable finds or makes the queue of a durable subscription and binds it
// to its topic. If there is one for another topic or with another selector or
// NoLocal, it is made anew, empty, as JMS has it, unless somebody reads it. For done see
// DeclareQueue. Errors: Precondition (in use), Denied, and those of DeclareQueue
// and Bind.
func (s *Session) OpenDurable(t *Turn, d Durable, done func(*Turn)) (queue string, err error) {
	declare := DurableSubscription(d.ClientID, d.Name)
	declare.Args = append(declare.Args, Field{Name: topicArgument, Value: d.Pattern}, Field{Name: selectorArgument, Value: d.Selector})
	if d.NoLocal {
		declare.Args = append(declare.Args, Field{Name: noLocalArgument, Value: true})
	}
	declare.Args = append(declare.Args, d.Args...)
	declare.DeadLetters = d.DeadLetters
	if q := s.vhost.queue(declare.Name); q != nil && q.otherDurable(&d) {
		if _, err := s.DeleteQueue(t, declare.Name, true, false, nil); err != nil {
			return "", err
		}
	}
	if _, err := s.DeclareQueue(t, declare, nil); err != nil {
		return "", err
	}
	return declare.Name, s.Bind(t, Binding{Source: TopicExchange, Destination: declare.Name, Key: d.Pattern}, done)
}

// otherDurable reports whether q is the queue of a durable subscription to
// another topic or with another selector or NoLocal.
func (q *Queue) otherDurable(d *Durable) bool {
	pattern, known := q.args.Get(topicArgument)
	if !known {
		return false
	}
	selector, _ := q.args.Get(selectorArgument)
	_, noLocal := q.args.Get(noLocalArgument)
	return pattern != d.Pattern || selector != d.Selector || noLocal != d.NoLocal
}
