package sns

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/broker"
)

// dedupWindow is how long a FIFO topic remembers deduplication ids, in ms.
const dedupWindow = 5 * 60 * 1000

// maxRecent bounds the ids a topic remembers.
const maxRecent = 1 << 20

// dedup is the message that a deduplication id stands for.
type dedup struct {
	ID       string `json:"id"`
	Sequence uint64 `json:"sequence"`
	At       int64  `json:"at"` // Unix ms
}

type expiring struct {
	key string
	at  int64
}

var dedupKind = broker.FactKind("sns.dedup")

func dedupFact(arn, key string) string { return arn + "\x00" + key }

// contentID is the deduplication id of a message that has none.
func contentID(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// scopeKey is the key of an id within its topic: ids count per topic, or per
// group.
func (t *topic) scopeKey(group, id string) string {
	if t.Attributes["FifoThroughputScope"] == "MessageGroup" {
		return group + "\x00" + id
	}
	return id
}

// number gives a message of a FIFO topic its sequence number, unless its id is
// known: then it returns what was given before. The fact has to be stored with
// the message. st.mu is held until the message has its place in the store's
// order, so that numbers and order agree.
func (t *topic) number(now int64, group, id string, message aws.UUID) (d dedup, known bool, fact broker.Definition) {
	st := t.state
	key := t.scopeKey(group, id)
	if d, ok := st.recent[key]; ok && d.At > now-dedupWindow {
		return d, true, broker.Definition{}
	}
	// Derived from the clock as those of SQS, numbers go on rising over restarts.
	// The topic's are not the queue's: they begin in the middle of a millisecond.
	st.sequence = max(st.sequence+1, sequenceBase+uint64(now)<<20+1<<19)
	d = dedup{message.String(), st.sequence, now}
	t.remember(key, d)
	raw, _ := json.Marshal(d)
	return d, false, broker.Definition{Kind: dedupKind, Key: dedupFact(t.ARN, key), Value: raw}
}

func (t *topic) remember(key string, d dedup) {
	st := t.state
	if st.recent == nil {
		st.recent = make(map[string]dedup)
	}
	if len(st.recent) >= maxRecent {
		clear(st.recent)
		st.expiry = nil
	}
	st.recent[key] = d
	st.expiry = append(st.expiry, expiring{key, d.At})
}

// forgetIDs drops the ids whose window is over.
func (s *Service) forgetIDs(turn *broker.Turn, t *topic) {
	if !t.fifo {
		return
	}
	st := t.state
	st.mu.Lock()
	var facts []broker.Definition
	n := 0
	for n < len(st.expiry) && len(facts) < 1000 && st.expiry[n].at <= turn.Now-dedupWindow {
		e := st.expiry[n]
		if d, ok := st.recent[e.key]; ok && d.At == e.at {
			delete(st.recent, e.key)
			facts = append(facts, broker.Definition{Kind: dedupKind, Key: dedupFact(t.ARN, e.key), Delete: true})
		}
		n++
	}
	st.expiry = st.expiry[n:]
	st.mu.Unlock()
	s.core.StoreFacts(facts, nil)
}

// recoverDedup reads the ids that are remembered.
func (s *Service) recoverDedup() {
	var orphans []broker.Definition
	for _, f := range s.core.TakeFacts(dedupKind) {
		arn, key, _ := strings.Cut(f.Key, "\x00")
		var d dedup
		t := s.topics[arn]
		if t == nil || json.Unmarshal(f.Value, &d) != nil {
			orphans = append(orphans, broker.Definition{Kind: dedupKind, Key: f.Key, Delete: true})
			continue
		}
		t.remember(key, d)
		t.state.sequence = max(t.state.sequence, d.Sequence)
	}
	for _, t := range s.topics {
		sortExpiry(t.state.expiry)
	}
	s.core.StoreFacts(orphans, nil)
}

func sortExpiry(list []expiring) {
	slices.SortFunc(list, func(a, b expiring) int { return cmp.Compare(a.at, b.at) })
}
