package sqs

import (
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/broker"
)

// strictWait is how long, in ms, a name stays taken after DeleteQueue and how
// far apart purges are.
const strictWait = 60_000

// denyText turns an error of the core into one of the service.
func coreError(err error) *aws.Error {
	var e *broker.Error
	if !errors.As(err, &e) {
		return aws.ErrInternal
	}
	switch e.Kind {
	case broker.Denied, broker.NotAllowed, broker.Locked:
		return aws.Refuse(403, "AccessDenied", "AccessDeniedException", e.Text)
	case broker.NotFound:
		return errNoQueue
	case broker.Exhausted:
		return modelled(403, "OverLimit", "OverLimit", e.Text)
	case broker.Unavailable:
		return aws.ErrBusy
	}
	return invalidParameter(e.Text)
}

func (s *Service) createQueue(r *request, _ *queue, caller *endpoint.Caller) {
	in := r.in
	if in.queueName == "" {
		r.fail(missing("QueueName"))
		return
	}
	fifo := false
	for _, a := range in.attributes {
		fifo = fifo || a.Name == "FifoQueue" && strings.EqualFold(a.Value, "true")
	}
	if err := checkName(in.queueName, fifo); err != nil {
		r.fail(err)
		return
	}
	tags, err := mergeTags(nil, in.tags)
	if err != nil {
		r.fail(err)
		return
	}
	if q := s.find(caller.Account, in.queueName); q != nil {
		s.createExisting(r, q)
		return
	}
	set := defaultSettings(fifo, r.Turn.Now)
	if err := set.apply(in.attributes, true); err != nil {
		r.fail(err)
		return
	}
	set.Tags = tags
	k := queueKey{caller.Account, strings.Clone(in.queueName)}
	if err := s.checkRedrive(&set, k); err != nil {
		r.fail(err)
		return
	}
	if err := s.tooSoon(k, r.Turn.Now); err != nil {
		r.fail(err)
		return
	}
	s.declare(r, caller, k, set)
}

// createExisting answers a CreateQueue for a queue that is there.
func (s *Service) createExisting(r *request, q *queue) {
	set := q.settings()
	name, err := set.differs(r.in.attributes)
	if err == nil && name != "" {
		err = queueExists(name)
	}
	if err != nil {
		r.fail(err)
		return
	}
	url := s.url(r.Call, q)
	s.endpoint.Core().StoreFacts(nil, func(t *broker.Turn) { // whoever made it may not be sure yet
		w := r.writer(256)
		w.text("QueueUrl", url)
		r.finish(t, w)
	})
}

func (s *Service) tooSoon(k queueKey, now int64) *aws.Error {
	if !s.opt.StrictTiming {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, at := range s.deleted {
		if now-at >= strictWait {
			delete(s.deleted, k)
		}
	}
	if _, ok := s.deleted[k]; ok {
		return errDeletedRecently
	}
	return nil
}

// declare makes the queue in the core and keeps its settings.
func (s *Service) declare(r *request, caller *endpoint.Caller, k queueKey, set settings) {
	d := broker.QueueDeclare{Name: k.name, Durable: true}
	if set.Fifo {
		d.Args = broker.Table{{Name: "x-lease-groups", Value: true}, {Name: "x-dedup-window", Value: int64(dedupWindow)}}
	}
	err := caller.Do(func(x *broker.Session) error {
		_, err := x.DeclareQueue(r.Turn, d, nil)
		return err
	})
	if err != nil {
		r.fail(coreError(err))
		return
	}
	core := caller.VHost.Queue(k.name)
	if core == nil {
		r.fail(aws.ErrBusy)
		return
	}
	s.mu.Lock()
	q := s.newQueue(core, k)
	q.now.Store(&set)
	s.queues[k] = q
	s.mu.Unlock()
	url := s.url(r.Call, q)
	s.change(r.Turn, q, set, func(t *broker.Turn) {
		w := r.writer(256)
		w.text("QueueUrl", url)
		r.finish(t, w)
	})
	s.targetAppeared(r.Turn, q)
}

// targetAppeared tells queues that name q as their dead-letter queue.
func (s *Service) targetAppeared(t *broker.Turn, q *queue) {
	for _, other := range s.sources(q) {
		s.enforce(t, other)
	}
}

// sources are the queues whose dead-letter queue is q, by name.
func (s *Service) sources(q *queue) (list []*queue) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, other := range s.queues {
		if other.settings().redrive.target == q.arn && !other.core.Closed() {
			list = append(list, other)
		}
	}
	slices.SortFunc(list, func(a, b *queue) int { return strings.Compare(a.name, b.name) })
	return list
}

// checkRedrive checks what a redrive policy needs of the dead-letter queue.
func (s *Service) checkRedrive(set *settings, k queueKey) *aws.Error {
	if set.redrive.target == "" {
		return nil
	}
	bad := func(reason string) *aws.Error { return badValue(set.Redrive, "RedrivePolicy", reason) }
	a, _, _ := aws.ParseARN(set.redrive.target)
	if a.Account != k.account || a.Region != s.endpoint.Region() {
		return bad("Dead letter target must be in the same region and account as the source queue.")
	}
	d := s.find(a.Account, a.Resource)
	if d == nil {
		return bad("Dead letter target does not exist.")
	}
	other := d.settings()
	if other.Fifo != set.Fifo {
		return bad("Dead-letter queue must be same type of queue as the source.")
	}
	arn := s.arn(k.account, k.name)
	if other.allow.permission == "denyAll" || other.allow.permission == "byQueue" && !slices.Contains(other.allow.sources, arn) {
		return bad("Queue " + set.redrive.target + " does not permit " + arn + " to use it as a dead-letter queue.")
	}
	return nil
}

func (s *Service) deleteQueue(r *request, q *queue, actor *endpoint.Caller) {
	s.mu.Lock()
	k := queueKey{q.account, q.name}
	delete(s.queues, k)
	if s.opt.StrictTiming {
		s.deleted[k] = r.Turn.Now
	}
	if q.managed {
		s.endpoint.Core().StoreFacts([]broker.Definition{{Kind: settingsKind, Key: s.factKey(q), Delete: true}}, nil)
	}
	s.mu.Unlock()
	err := actor.Do(func(x *broker.Session) error {
		_, err := x.DeleteQueue(r.Turn, q.core.Name(), false, false, r.void)
		return err
	})
	if err != nil {
		r.fail(coreError(err))
	}
}

func (s *Service) purge(r *request, q *queue, _ *endpoint.Caller) {
	q.mu.Lock()
	last := q.purged
	early := s.opt.StrictTiming && last != 0 && r.Turn.Now-last < strictWait
	if !early {
		q.purged = r.Turn.Now
	}
	q.mu.Unlock()
	if early {
		r.fail(modelled(403, codePrefix+"PurgeQueueInProgress", "PurgeQueueInProgress",
			"Only one PurgeQueue operation on "+q.name+" is allowed every 60 seconds."))
		return
	}
	q.core.Clear(r.Turn, r.void)
}

func (s *Service) getURL(r *request, _ *queue, caller *endpoint.Caller) {
	if r.in.queueName == "" {
		r.fail(missing("QueueName"))
		return
	}
	account := caller.Account
	if r.in.owner != "" {
		account = r.in.owner
	}
	q := s.find(account, r.in.queueName)
	if q != nil && account != caller.Account {
		if _, err := s.authorize(r, q, look); err != nil {
			q = nil // whoever may not look must not learn that it is there
		}
	}
	if q == nil {
		r.fail(errNoQueue)
		return
	}
	w := r.writer(256)
	w.text("QueueUrl", s.url(r.Call, q))
	r.finish(r.Turn, w)
}

// maxPage is the most names of one answer.
const maxPage = 1000

// page cuts a sorted list of names for MaxResults and NextToken.
func page(in *input, names []string) (list []string, next string, err *aws.Error) {
	if in.maxResults.set && !in.maxResults.within(1, maxPage) {
		return nil, "", badValue(in.maxResults.String(), "MaxResults", "Must be an integer from 1 to 1000, if provided.")
	}
	if in.nextToken != "" {
		raw, bad := base64.StdEncoding.DecodeString(in.nextToken)
		if bad != nil {
			return nil, "", badValue(in.nextToken, "NextToken", "Invalid token.")
		}
		i, found := slices.BinarySearch(names, string(raw))
		if found {
			i++
		}
		names = names[i:]
	}
	limit := maxPage
	if in.maxResults.set {
		limit = in.maxResults.v
	}
	if len(names) <= limit {
		return names, "", nil
	}
	names = names[:limit]
	if in.maxResults.set {
		next = base64.StdEncoding.EncodeToString([]byte(names[limit-1]))
	}
	return names, next, nil
}

func (s *Service) listQueues(r *request, _ *queue, caller *endpoint.Caller) {
	var names []string
	for _, q := range caller.VHost.Queues() {
		if name := Alias(q); name != "" && strings.HasPrefix(name, r.in.prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names, next, err := page(r.in, slices.Compact(names))
	if err != nil {
		r.fail(err)
		return
	}
	base := r.BaseURL() + "/" + caller.Account + "/"
	urls := make([]string, len(names))
	for i, name := range names {
		urls[i] = base + name
	}
	w := r.writer(256 + 96*len(urls))
	w.texts("QueueUrls", "QueueUrl", urls)
	if next == "" {
		w.absent("NextToken")
	}
	w.optional("NextToken", next)
	r.finish(r.Turn, w)
}

func (s *Service) listSources(r *request, q *queue, _ *endpoint.Caller) {
	var names []string
	for _, other := range s.sources(q) {
		names = append(names, other.name)
	}
	names, next, err := page(r.in, names)
	if err != nil {
		r.fail(err)
		return
	}
	urls := make([]string, len(names))
	for i, name := range names {
		urls[i] = r.BaseURL() + "/" + q.account + "/" + name
	}
	w := r.writer(256 + 96*len(urls))
	if len(urls) == 0 && r.Protocol == aws.JSON {
		w.raw("queueUrls", "[]")
	}
	w.texts("queueUrls", "QueueUrl", urls)
	w.optional("NextToken", next)
	r.finish(r.Turn, w)
}

// readOnly are the attributes that only the service sets.
var readOnly = []string{
	"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed",
	"CreatedTimestamp", "LastModifiedTimestamp", "QueueArn",
}

func (s *Service) getAttributes(r *request, q *queue, _ *endpoint.Caller) {
	names := r.in.names
	for _, name := range names {
		if name != "All" && !slices.Contains(settable, name) && !slices.Contains(readOnly, name) {
			r.fail(unknownAttribute(name))
			return
		}
	}
	if slices.Contains(names, "All") {
		names = append(slices.Clone(readOnly), settable...)
	}
	set := q.settings()
	ready, leased, delayed := q.core.Counts()
	var list []pair
	for _, name := range names {
		v, ok := "", true
		switch name {
		case "ApproximateNumberOfMessages":
			v = strconv.Itoa(ready)
		case "ApproximateNumberOfMessagesNotVisible":
			v = strconv.Itoa(leased)
		case "ApproximateNumberOfMessagesDelayed":
			v = strconv.Itoa(delayed)
		case "CreatedTimestamp":
			v = strconv.FormatInt(set.Created, 10)
		case "LastModifiedTimestamp":
			v = strconv.FormatInt(set.Modified, 10)
		case "QueueArn":
			v = q.arn
		default:
			v, ok = set.value(name)
		}
		if ok && !slices.ContainsFunc(list, func(p pair) bool { return p.Name == name }) {
			list = append(list, pair{name, v})
		}
	}
	w := r.writer(1024)
	w.pairs("Attributes", "Attribute", "Name", "Value", list)
	r.finish(r.Turn, w)
}

func (s *Service) setAttributes(r *request, q *queue, _ *endpoint.Caller) {
	if len(r.in.attributes) == 0 {
		r.fail(missing("Attribute.Name"))
		return
	}
	set := *q.settings()
	for _, a := range r.in.attributes {
		if slices.Contains(readOnly, a.Name) {
			r.fail(unknownAttribute(a.Name))
			return
		}
	}
	if err := set.apply(r.in.attributes, false); err != nil {
		r.fail(err)
		return
	}
	if set.Redrive != q.settings().Redrive {
		if err := s.checkRedrive(&set, queueKey{q.account, q.name}); err != nil {
			r.fail(err)
			return
		}
	}
	set.Modified = r.Turn.Now / 1000
	s.change(r.Turn, q, set, r.void)
}

// Limits of tags.
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

// mergeTags puts new tags over old ones.
func mergeTags(old, list []pair) ([]pair, *aws.Error) {
	tags := slices.Clone(old)
	for _, p := range list {
		switch {
		case p.Name == "" || len([]rune(p.Name)) > maxTagKey:
			return nil, invalidParameter("Tag keys must be between 1 and 128 characters in length.")
		case len([]rune(p.Value)) > maxTagValue:
			return nil, invalidParameter("Tag values must be between 0 and 256 characters in length.")
		case strings.HasPrefix(strings.ToLower(p.Name), "aws:"):
			return nil, invalidParameter("Tag keys cannot start with the reserved prefix aws:.")
		}
		p = pair{strings.Clone(p.Name), strings.Clone(p.Value)}
		if i := slices.IndexFunc(tags, func(t pair) bool { return t.Name == p.Name }); i >= 0 {
			tags[i] = p
		} else {
			tags = append(tags, p)
		}
	}
	if len(tags) > maxTags {
		return nil, invalidParameter("Too many tags added for queue.")
	}
	return tags, nil
}

func (s *Service) tag(r *request, q *queue, _ *endpoint.Caller) {
	if !r.in.hasTags {
		r.fail(missing("Tags"))
		return
	}
	set := *q.settings()
	tags, err := mergeTags(set.Tags, r.in.tags)
	if err != nil {
		r.fail(err)
		return
	}
	set.Tags = tags
	s.change(r.Turn, q, set, r.void)
}

func (s *Service) untag(r *request, q *queue, _ *endpoint.Caller) {
	if !r.in.hasTags {
		r.fail(missing("TagKeys"))
		return
	}
	set := *q.settings()
	set.Tags = slices.DeleteFunc(slices.Clone(set.Tags), func(p pair) bool { return slices.Contains(r.in.tagKeys, p.Name) })
	s.change(r.Turn, q, set, r.void)
}

func (s *Service) listTags(r *request, q *queue, _ *endpoint.Caller) {
	w := r.writer(512)
	w.pairs("Tags", "Tag", "Key", "Value", q.settings().Tags)
	r.finish(r.Turn, w)
}
