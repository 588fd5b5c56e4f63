package sns

import (
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/message"
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/filter"
)

// archivePrefix begins the names of the streams in which topics keep what was
// published. The stream holds every message as it was published; a replay reads
// it from a point in time.
const archivePrefix = "sns-archive-"

// archives are the bindings of archives in place, by topic.
type archives struct {
	mu   sync.Mutex
	open map[string]string // topic ARN -> stream
}

// setArchive checks and sets the archive policy of a topic.
func (s *Service) setArchive(t *topic, value string, now int64) *aws.Error {
	if !t.fifo {
		return invalid("ArchivePolicy Reason: Archive policies are supported on FIFO topics only")
	}
	if value == "" || value == "{}" {
		delete(t.Attributes, "ArchivePolicy")
		t.ArchiveFrom = 0
		return nil
	}
	if retentionOf(value) == 0 {
		return invalid("ArchivePolicy Reason: MessageRetentionPeriod must be between 1 and 365")
	}
	if t.Attributes["ArchivePolicy"] == "" {
		t.ArchiveFrom = now
	}
	t.Attributes["ArchivePolicy"] = value
	return nil
}

// retentionOf is the number of days of an archive policy; 0 if it is none.
func retentionOf(text string) int {
	var p struct {
		MessageRetentionPeriod json.RawMessage
	}
	if json.Unmarshal([]byte(text), &p) != nil {
		return 0
	}
	word := string(p.MessageRetentionPeriod)
	if unquoted, err := strconv.Unquote(word); err == nil {
		word = unquoted
	}
	if n, err := strconv.Atoi(word); err == nil && n >= 1 && n <= 365 {
		return n
	}
	return 0
}

func archiveName(t *topic) string {
	return archivePrefix + t.name + "-" + strconv.Itoa(retentionOf(t.Attributes["ArchivePolicy"])) + "d"
}

// openArchive makes the stream of a topic and binds it, or ends it when the
// policy is gone.
func (s *Service) openArchive(turn *broker.Turn, t *topic) {
	s.archives.mu.Lock()
	defer s.archives.mu.Unlock()
	if s.archives.open == nil {
		s.archives.open = make(map[string]string)
	}
	have, want := s.archives.open[t.ARN], ""
	if t.Attributes["ArchivePolicy"] != "" {
		want = archiveName(t)
	}
	if have == want {
		return
	}
	err := s.system(t.vhost, func(session *broker.Session) error {
		if want != "" {
			_, err := session.DeclareQueue(turn, broker.QueueDeclare{Name: want, Durable: true, Args: broker.Table{
				{Name: "x-queue-type", Value: "stream"}, {Name: "x-hermod-subscription", Value: true},
				{Name: "x-max-age", Value: strconv.Itoa(retentionOf(t.Attributes["ArchivePolicy"])) + "D"},
			}}, nil)
			if err != nil {
				return err
			}
			if err := session.Bind(turn, broker.Binding{Source: broker.TopicExchange, Destination: want, Key: t.name}, nil); err != nil {
				return err
			}
		}
		if have != "" {
			_, err := session.DeleteQueue(turn, have, false, false, nil)
			return err
		}
		return nil
	})
	if err != nil {
		s.log.Error("archive cannot be set up", "topic", t.ARN, "error", err)
	}
	s.archives.open[t.ARN] = want
}

// replayRecord is the state of a subscription's replay.
type replayRecord struct {
	Start  int64  `json:"start"`         // Unix ms
	End    int64  `json:"end,omitempty"` // 0: until what is archived now
	Until  int64  `json:"until"`         // Unix ms at which the replay began
	Offset int64  `json:"offset"`        // of the stream, done below; -1: none
	Status string `json:"status"`
}

// The words of ReplayStatus.
const (
	replayPending   = "Pending"
	replayRunning   = "In progress"
	replayCompleted = "Completed"
	replayFailed    = "Failed"
)

// setReplay checks and sets the replay policy of a subscription.
func (s *Service) setReplay(sub *subscription, t *topic, value string) *aws.Error {
	if value == "" || value == "{}" {
		delete(sub.Attributes, "ReplayPolicy")
		sub.Replay = nil
		return nil
	}
	if t.Attributes["ArchivePolicy"] == "" {
		return invalid("ReplayPolicy Reason: The topic has no archive policy")
	}
	var p struct{ PointType, StartingPoint, EndingPoint string }
	if json.Unmarshal([]byte(value), &p) != nil || p.PointType != "Timestamp" {
		return invalid("ReplayPolicy Reason: PointType must be Timestamp")
	}
	start, err := time.Parse(time.RFC3339, p.StartingPoint)
	if err != nil {
		return invalid("ReplayPolicy Reason: StartingPoint must be a timestamp")
	}
	r := &replayRecord{Start: start.UnixMilli(), Offset: -1}
	if p.EndingPoint != "" {
		end, err := time.Parse(time.RFC3339, p.EndingPoint)
		if err != nil || end.Before(start) {
			return invalid("ReplayPolicy Reason: EndingPoint must be a timestamp after StartingPoint")
		}
		r.End = end.UnixMilli()
	}
	sub.Attributes["ReplayPolicy"], sub.Replay = value, r
	return nil
}

// startReplay makes a replay that was asked for ready to run.
func (s *Service) startReplay(sub *subscription) {
	if sub.Replay != nil && sub.Replay.Status == "" {
		sub.Replay.Status, sub.Replay.Until = replayPending, s.opt.Now().UnixMilli()
	}
}

// resumeReplays goes on with those that a stop interrupted.
func (s *Service) resumeReplays() {
	for _, t := range s.allTopics() {
		for _, sub := range t.subscriptions() {
			s.runReplay(sub)
		}
	}
}

// runReplay replays if there is something to do.
func (s *Service) runReplay(sub *subscription) {
	if sub.Pending || sub.Replay == nil || sub.Replay.Status == replayCompleted || sub.Replay.Status == replayFailed {
		return
	}
	go s.replay(sub.ARN, sub.Replay.Until)
}

// reader gathers what a stream delivers.
type reader struct{ ch chan broker.Delivery }

func (r *reader) Deliver(_ *broker.Turn, d broker.Delivery)             { r.ch <- d }
func (r *reader) GetResult(*broker.Turn, uint64, broker.Delivery, bool) {}
func (r *reader) Receipt(*broker.Turn, uint64, bool)                    {}
func (r *reader) Cancelled(_ *broker.Turn, _ *broker.Subscription)      { close(r.ch) }

// replayWindow bounds what a replay has read ahead; the channel holds as many,
// so that Deliver never blocks.
const replayWindow = 64

// quiet is how long a stream that delivers nothing is taken to be at its end.
const quiet = 2 * time.Second

// replay reads the archive of a topic into the endpoint of a subscription. run
// identifies it: another replay policy ends it.
func (s *Service) replay(arn string, run int64) {
	sub, t := s.subscription(arn)
	if sub == nil || sub.Replay == nil || sub.Replay.Until != run {
		return
	}
	s.progress(arn, run, func(r *replayRecord) { r.Status = replayRunning })
	turn, end := s.opt.Turn()
	defer end()
	in := &reader{make(chan broker.Delivery, replayWindow)}
	session := t.vhost.OpenSession(nil, in)
	defer func() { session.Close(turn) }()
	// The offset of a time is that of the block it lies in: what is too early is
	// passed over below.
	offset := any(broker.Timestamp(max(sub.Replay.Start/1000, 0)))
	if sub.Replay.Offset >= 0 {
		offset = sub.Replay.Offset + 1
	}
	stream, err := session.Subscribe(turn, broker.SubscribeOptions{
		Queue: archiveName(t), Tag: "replay", Prefetch: replayWindow, Args: broker.Table{{Name: "x-stream-offset", Value: offset}},
	})
	if err != nil {
		s.log.Error("replay failed", "subscription", arn, "error", err)
		s.progress(arn, run, func(r *replayRecord) { r.Status = replayFailed })
		return
	}
	for n := 0; ; n++ {
		d, ok := s.nextArchived(in)
		if s.context.Err() != nil {
			return
		}
		sub, t = s.subscription(arn)
		if sub == nil || sub.Replay == nil || sub.Replay.Until != run {
			return
		}
		last := sub.Replay.Until
		if sub.Replay.End != 0 {
			last = min(last, sub.Replay.End)
		}
		if !ok || d.Msg.Received > last {
			break
		}
		stream.Written(turn, 1, d.Msg.Size())
		if d.Msg.Received >= sub.Replay.Start && s.passes(sub, d.Msg) && !s.replayOne(sub, t, d.Msg) {
			s.progress(arn, run, func(r *replayRecord) { r.Status = replayFailed })
			return
		}
		session.Settle(turn, d.Queue, []broker.Lease{d.Lease}, broker.Accepted)
		if n%replayWindow == replayWindow-1 {
			s.progress(arn, run, func(r *replayRecord) { r.Offset = d.Offset })
		}
	}
	s.progress(arn, run, func(r *replayRecord) { r.Status = replayCompleted })
}

func (s *Service) nextArchived(in *reader) (broker.Delivery, bool) {
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	select {
	case d, ok := <-in.ch:
		return d, ok
	case <-timer.C:
	case <-s.context.Done():
	}
	return broker.Delivery{}, false
}

// replayOne delivers one archived message; it tries for as long as the policy
// of the subscription says.
func (s *Service) replayOne(sub *subscription, t *topic, m *broker.Message) bool {
	m = replayed(m)
	for tried := 1; ; tried++ {
		failed := s.deliver(t, sub, m, tried-1)
		if failed == nil {
			return true
		}
		wait, more := sub.retries(t).delay(tried)
		if failed.final || !more || tried > 20 {
			s.log.Warn("replayed notification not delivered", "subscription", sub.ARN, "error", failed)
			s.deadLetterLater(t, sub, m, failed)
			return true
		}
		if !s.pause(wait) {
			return false
		}
	}
}

// replayed is m with the mark of a replay. Its deduplication id is another one,
// or the queue would drop it.
func replayed(m *broker.Message) *broker.Message {
	c, err := message.Parse(m)
	if err != nil {
		return m
	}
	c.Attributes = append(c.Attributes[:len(c.Attributes):len(c.Attributes)], message.Attribute{Name: replayedName, Type: "String", Value: []byte("true")})
	r := *m
	r.Native = c.AppendNative(nil)
	if m.Notes != nil {
		n := *m.Notes
		n.DedupID = aws.NewUUID().String()
		r.Notes = &n
	}
	return &r
}

// passes asks the filter policy of a subscription.
func (s *Service) passes(sub *subscription, m *broker.Message) bool {
	text := sub.Attributes["FilterPolicy"]
	if text == "" {
		return true
	}
	scope := filter.Attributes
	if sub.Attributes["FilterPolicyScope"] == "MessageBody" {
		scope = filter.Body
	}
	p, err := filter.Compile(text, scope)
	if err != nil {
		return false
	}
	if scope == filter.Body {
		var d filter.Document
		d.Parse(m.Body)
		return p.MatchBody(&d)
	}
	return p.MatchAttributes(attributesOf{m}, nil)
}

// attributesOf are the attributes of a message of ours.
type attributesOf struct{ m *broker.Message }

func (a attributesOf) AppendAttribute(dst []filter.Value, name string) ([]filter.Value, bool) {
	return message.Converter{}.AppendAttribute(dst, a.m, name)
}

// progress changes the record of a running replay and stores it.
func (s *Service) progress(arn string, run int64, change func(*replayRecord)) {
	s.changing.Lock()
	defer s.changing.Unlock()
	sub, t := s.subscription(arn)
	if sub == nil || sub.Replay == nil || sub.Replay.Until != run {
		return
	}
	changed := sub.with()
	r := *sub.Replay
	change(&r)
	changed.Replay = &r
	changed.derive()
	s.mu.Lock()
	s.keep(changed)
	s.relist(t)
	s.mu.Unlock()
	s.core.StoreFacts([]broker.Definition{changed.fact()}, nil)
}

// pause waits; false if the service stops meanwhile.
func (s *Service) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.context.Done():
		return false
	}
}

// sleep is the wait before the n-th repetition of a confirmation.
func (s *Service) sleep(n int) bool { return s.pause(time.Duration(n*n) * 5 * time.Second) }
