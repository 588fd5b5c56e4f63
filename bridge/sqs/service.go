// Package sqs is the Simple Queue Service over the broker's queues: the same
// queues that clients of all other protocols use.
package sqs

import (
	"crypto/sha256"
	"log/slog"
	"strings"
	"sync"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/aws/policy"
	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/broker"
)

// Options configure the service. The zero value of a field is its default.
type Options struct {
	// InFlight is the most messages of a queue that are received and not
	// deleted; default 120000.
	InFlight int
	// StrictTiming makes the service wait as AWS does: 60 s between purges of a
	// queue, and before a deleted queue can be made again.
	StrictTiming bool
	Logger       *slog.Logger
}

// Service is the service. Tick must be called about every 10 ms.
type Service struct {
	endpoint *endpoint.Endpoint
	opt      Options
	secret   [sha256.Size]byte
	polls    pollWheel
	moves    moves
	sign     func(notification []byte) []byte // nil: as they are

	mu      sync.RWMutex
	queues  map[queueKey]*queue
	deleted map[queueKey]int64 // Unix ms; with StrictTiming only
}

// New makes the service, puts what was stored of it in force and registers it.
// The core must have recovered.
func New(t *broker.Turn, e *endpoint.Endpoint, o Options) *Service {
	if o.InFlight == 0 {
		o.InFlight = 120_000
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		endpoint: e, opt: o, secret: e.Secret("sqs.handle"),
		queues: make(map[queueKey]*queue), deleted: make(map[queueKey]int64),
	}
	s.recover(t)
	s.moves.recover(s)
	e.Register("sqs", "2012-11-05", xmlns, "AmazonSQS", s)
	return s
}

// SetSigner sets who completes notifications that are stored without their
// signature. It is called before the first client.
func (s *Service) SetSigner(f func(notification []byte) []byte) { s.sign = f }

// Tick drives what happens by itself: polls that end, moves of messages.
func (s *Service) Tick(t *broker.Turn) {
	s.polls.tick(t)
	s.moves.tick(t, s)
}

// request is one call with its parameters.
type request struct {
	*endpoint.Call
	in      *input // nil when Serve has returned
	count   int    // entries of a batch, of which in has maxEntries at most
	action  *action
	service *Service
}

// action is how an action is served. queue says that it is about one queue,
// and how the caller's right is checked.
type action struct {
	name   string
	output bool // the model has an output
	right  right
	serve  func(s *Service, r *request, q *queue, actor *endpoint.Caller)
}

type right uint8

const (
	free  right = iota // not about one queue
	owner              // configure, and only within the account
	read
	write
	look // any right at all
)

var actions = map[string]*action{}

func init() {
	for _, a := range []action{
		{"AddPermission", false, owner, (*Service).addPermission},
		{"CancelMessageMoveTask", true, free, (*Service).cancelMove},
		{"ChangeMessageVisibility", false, read, (*Service).changeVisibility},
		{"ChangeMessageVisibilityBatch", true, read, (*Service).changeVisibilityBatch},
		{"CreateQueue", true, free, (*Service).createQueue},
		{"DeleteMessage", false, read, (*Service).deleteMessage},
		{"DeleteMessageBatch", true, read, (*Service).deleteMessageBatch},
		{"DeleteQueue", false, owner, (*Service).deleteQueue},
		{"GetQueueAttributes", true, look, (*Service).getAttributes},
		{"GetQueueUrl", true, free, (*Service).getURL},
		{"ListDeadLetterSourceQueues", true, look, (*Service).listSources},
		{"ListMessageMoveTasks", true, free, (*Service).listMoves},
		{"ListQueues", true, free, (*Service).listQueues},
		{"ListQueueTags", true, owner, (*Service).listTags},
		{"PurgeQueue", false, read, (*Service).purge},
		{"ReceiveMessage", true, read, (*Service).receive},
		{"RemovePermission", false, owner, (*Service).removePermission},
		{"SendMessage", true, write, (*Service).send},
		{"SendMessageBatch", true, write, (*Service).sendBatch},
		{"SetQueueAttributes", false, owner, (*Service).setAttributes},
		{"StartMessageMoveTask", true, free, (*Service).startMove},
		{"TagQueue", false, owner, (*Service).tag},
		{"UntagQueue", false, owner, (*Service).untag},
	} {
		actions[a.name] = &a
	}
}

// Serve implements endpoint.Service.
func (s *Service) Serve(c *endpoint.Call) {
	a := actions[c.Action]
	path, onQueue := queuePath(c.Path)
	if a == nil || onQueue && c.Protocol != aws.JSON && (a.name == "ListQueues" || a.name == "CreateQueue") {
		c.Fail(c.Turn, unknownAction(c))
		return
	}
	r := &request{Call: c, action: a, service: s, in: inputs.Get().(*input)}
	defer r.forget()
	if c.Protocol == aws.JSON {
		ok := true
		if r.count, ok = r.in.decodeJSON(c.Body); !ok {
			c.Fail(c.Turn, aws.ErrSerialization)
			return
		}
	} else {
		r.count = r.in.decodeForm(c.Form)
	}
	if a.right == free {
		a.serve(s, r, nil, c.Caller)
		return
	}
	q, err := s.resolve(r, path, onQueue)
	if err != nil {
		r.fail(err)
		return
	}
	actor, err := s.authorize(r, q, a.right)
	if err != nil {
		r.fail(err)
		return
	}
	a.serve(s, r, q, actor)
}

// inputs are unused ones, all of them zero.
var inputs = sync.Pool{New: func() any { return new(input) }}

// forget gives the parameters back when the call returns: they refer to the
// bytes of the request, which are not its own any longer.
func (r *request) forget() {
	in := r.in
	r.in = nil
	*in = input{}
	inputs.Put(in)
}

func unknownAction(c *endpoint.Call) *aws.Error {
	if c.Protocol == aws.JSON {
		return aws.ErrUnknownOperation
	}
	return &aws.Error{Status: 400, Code: "InvalidAction", Message: "The action " + c.Action + " is not valid for this endpoint."}
}

func (r *request) fail(err *aws.Error) { r.Fail(r.Turn, err) }

// writer begins the answer.
func (r *request) writer(size int) *writer {
	return newWriter(r.Protocol, r.action.name, r.action.output, size)
}

// finish sends the answer.
func (r *request) finish(t *broker.Turn, w *writer) { r.ReplyLent(t, w.end(r.RequestID), w) }

// void answers without output.
func (r *request) void(t *broker.Turn) {
	if r.Protocol == aws.JSON && !r.action.output {
		r.Reply(t, nil)
		return
	}
	r.finish(t, r.writer(256))
}

// queuePath reads the account and the name at the end of the path of a queue's
// URL.
func queuePath(path string) (k queueKey, ok bool) {
	name, rest := lastSegment(path)
	account, _ := lastSegment(rest)
	if name == "" || !aws.IsAccount(account) {
		return k, false
	}
	return queueKey{account, name}, true
}

func lastSegment(path string) (last, rest string) {
	path = strings.TrimSuffix(path, "/")
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return path, ""
	}
	return path[i+1:], path[:i]
}

// resolve finds the queue a request is about: by URL, by name, by the path the
// request was sent to.
func (s *Service) resolve(r *request, path queueKey, onQueue bool) (*queue, *aws.Error) {
	k, url := path, r.in.queueURL
	switch {
	case url == "" && !onQueue:
		return nil, missing("QueueUrl")
	case url == "":
	case strings.IndexByte(url, '/') < 0:
		k = queueKey{r.Caller.Account, url}
	default:
		var ok bool
		if k, ok = queuePath(url); !ok {
			return nil, errNoQueue
		}
	}
	q := s.find(k.account, k.name)
	if q == nil {
		return nil, errNoQueue
	}
	return q, nil
}

// authorize decides whether the caller may do what it asks for, and as whom:
// by its own rights, or, if the queue's policy allows it, by the broker's.
func (s *Service) authorize(r *request, q *queue, need right) (*endpoint.Caller, *aws.Error) {
	c := r.Caller
	d := policy.None
	if p := q.settings().policy; p != nil {
		d = p.Evaluate(&policy.Request{
			Principal: c.ARN(), Account: c.Account, Action: "SQS:" + r.action.name, Resource: q.arn, Condition: r.Condition,
		})
	}
	if d == policy.Deny {
		return nil, s.denied(r, q, "with an explicit deny in a resource-based policy")
	}
	if c.VHost == q.core.VHost() {
		err := c.Do(func(x *broker.Session) error {
			switch need {
			case owner:
				return x.MayConfigure(q.core.Name())
			case read:
				return x.MayRead(q.core.Name())
			case write:
				return x.MayWrite("")
			}
			if x.MayRead(q.core.Name()) == nil || x.MayWrite("") == nil {
				return nil
			}
			return x.MayConfigure(q.core.Name())
		})
		if err == nil {
			return c, nil
		}
	} else if need == owner {
		return nil, s.denied(r, q, "because only the owner of a queue may")
	}
	if d == policy.Allow {
		return s.endpoint.System(q.core.VHost()), nil
	}
	return nil, s.denied(r, q, "because no resource-based policy allows the sqs:"+strings.ToLower(r.action.name)+" action")
}

func (s *Service) denied(r *request, q *queue, why string) *aws.Error {
	return aws.Refuse(403, "AccessDenied", "AccessDeniedException", "User: "+r.Caller.ARN()+" is not authorized to perform: sqs:"+
		strings.ToLower(r.action.name)+" on resource: "+q.arn+" "+why)
}

// Resolve finds the queue of the broker behind a name of the service.
func (s *Service) Resolve(account, name string) (*broker.Queue, bool) {
	q := s.find(account, name)
	if q == nil {
		return nil, false
	}
	return q.core, true
}

// Fifo reports whether the queue with a resource name is a FIFO queue; ok is
// false if there is none.
func (s *Service) Fifo(arn string) (fifo, ok bool) {
	q := s.byARN(arn)
	if q == nil {
		return false, false
	}
	return q.settings().Fifo, true
}

// Policy is the policy of the queue with a resource name, nil if it has none.
func (s *Service) Policy(arn string) *policy.Policy {
	if q := s.byARN(arn); q != nil {
		return q.settings().policy
	}
	return nil
}
